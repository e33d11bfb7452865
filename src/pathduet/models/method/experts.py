"""Combine the magnifications' experts into one prediction."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pathduet.models.method.config import EXPERT_RULES, MAGNIFICATIONS


def combine_probabilities(
    logits: Mapping[str, Tensor], rule: str = "max_confidence"
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Combine the class probabilities of the experts; those of a single expert are returned unchanged.

    Parameters
    ----------
    logits : mapping
        (B, K) by magnification, one or both.
    rule : str
        ``max_confidence``: the expert with the higher maximum probability decides, slide by slide (10x in a
        tie); ``mean``: their average.

    Returns
    -------
    tuple
        Probabilities (B, K); index (B,) into the magnifications of the more confident expert; and each
        expert's own probabilities by magnification.
    """
    if rule not in EXPERT_RULES:
        raise ValueError(f"unknown expert rule {rule!r}; known: {', '.join(EXPERT_RULES)}")
    single = {m: logits[m].softmax(dim=-1) for m in MAGNIFICATIONS if m in logits}
    if len(single) == 1:
        ((only, probability),) = single.items()
        expert = torch.full(
            probability.shape[:-1], MAGNIFICATIONS.index(only), dtype=torch.int64, device=probability.device
        )
        return probability, expert, single
    first, second = (single[m] for m in MAGNIFICATIONS)
    expert = (second.amax(dim=-1) > first.amax(dim=-1)).long()
    if rule == "mean":
        return (first + second) / 2, expert, single
    return torch.where(expert.bool().unsqueeze(-1), second, first), expert, single


def combine_hazards(logits: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Average the hazards of the experts. They have no confidence by which to choose one.

    Parameters
    ----------
    logits : mapping
        (B, K) logits of the hazards by magnification, one or both.

    Returns
    -------
    tuple
        Hazards (B, K) in [0, 1], and each expert's own by magnification.
    """
    single = {m: logits[m].sigmoid() for m in MAGNIFICATIONS if m in logits}
    return torch.stack(list(single.values())).mean(dim=0), single
