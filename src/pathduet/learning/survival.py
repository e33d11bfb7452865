"""Discrete-time survival: likelihood, survival curve and risk from the logits of the hazards.

Interval t = 0 ... K-1 has the hazard h(t) = sigmoid(logit), the probability to die in it after reaching it;
S(t) is the product of 1 - h up to and including t.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def log_likelihood(logits: Tensor, bin: Tensor, event: Tensor) -> Tensor:
    """Return log of the probability of each observed outcome: S(t-1) h(t) if the event was seen, else S(t).

    Parameters
    ----------
    logits : Tensor
        (B, K) logits of the hazards.
    bin : Tensor
        (B,) integers in [0, K): interval of the event or of the last visit.
    event : Tensor
        (B,) 1 or True if the event was seen, 0 if censored.

    Returns
    -------
    Tensor
        (B,), at most 0.
    """
    if logits.ndim != 2 or bin.shape != logits.shape[:1] or event.shape != logits.shape[:1]:
        raise ValueError(
            f"logits (B, K), bin (B,) and event (B,) do not fit: {logits.shape}, {bin.shape}, {event.shape}"
        )
    steps = F.logsigmoid(-logits).cumsum(dim=1)  # log S(t)
    at = bin.long().unsqueeze(1)
    survived = steps.gather(1, at).squeeze(1)
    logit = logits.gather(1, at).squeeze(1)
    # log S(t-1) + log h(t) = log S(t) - log(1 - h(t)) + log h(t), and log h - log(1 - h) is the logit.
    return survived + event.to(logits.dtype) * logit


def survival_nll(logits: Tensor, bin: Tensor, event: Tensor) -> Tensor:
    """Return the batch mean of the negative log-likelihood; see :func:`log_likelihood` for the arguments.

    No extra weight for uncensored patients (the alpha of some implementations is 0).
    """
    return -log_likelihood(logits, bin, event).mean()


def survival_curve(hazards: Tensor) -> Tensor:
    """Return S(t), (..., K), from hazards (..., K)."""
    return (1 - hazards).cumprod(dim=-1)


def risk_from_hazards(hazards: Tensor) -> Tensor:
    """Return minus the sum of S over the intervals, (...), from hazards (..., K). Higher = dies earlier."""
    return -survival_curve(hazards).sum(dim=-1)


def survival_risk(logits: Tensor) -> Tensor:
    """Return the risk, (B,), minus the sum of S over the intervals, from logits (B, K). Higher = dies earlier."""
    return risk_from_hazards(logits.sigmoid())
