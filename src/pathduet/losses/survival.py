"""Discrete-time survival: likelihood, survival curve and risk from the logits of the hazards.

Interval t = 0 ... K-1 has the hazard h(t) = sigmoid(logit), the probability of the event in it after reaching it;
S(t) is the product of 1 - h up to and including t.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pathduet.models.precision import at_least_float32


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

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _check_shapes(logits, bin, event)
    steps = F.logsigmoid(-logits).cumsum(dim=1)  # log S(t)
    at = bin.long().unsqueeze(1)
    survived = steps.gather(1, at).squeeze(1)
    logit = logits.gather(1, at).squeeze(1)
    # log S(t-1) + log h(t) = log S(t) - log(1 - h(t)) + log h(t), and log h - log(1 - h) is the logit.
    return survived + event.to(logits.dtype) * logit


def survival_nll(logits: Tensor, bin: Tensor, event: Tensor) -> Tensor:
    """Return the batch mean of the negative log-likelihood of the observed outcomes (eq. 17).

    Parameters
    ----------
    logits : Tensor
        (B, K) logits of the hazards, one per interval. Half precision is converted to float32.
    bin : Tensor
        (B,) whole numbers in [0, K): interval of the event or of the last visit.
    event : Tensor
        (B,) bool or number: 1 if the event was seen, 0 if censored.

    Returns
    -------
    Tensor
        Scalar, at least 0; finite for finite logits.

    Raises
    ------
    ValueError
        If the shapes do not fit, a bin is outside [0, K) or not whole, or an event is neither 0 nor 1.

    Notes
    -----
    Event in interval t: S(t-1) h(t); censored in it: S(t), that is, the patient outlived t. No extra weight for
    uncensored patients (the alpha of some implementations is 0).

    References
    ----------
    Zadeh and Schmid, Bias in cross-entropy-based training of deep survival networks, IEEE TPAMI 2021; the paper's
    reference 6 for its use with slides and genes.
    """
    _check_shapes(logits, bin, event)
    logits = at_least_float32(logits)
    K = logits.shape[1]
    for name, values, wrong, right in (
        ("bin", bin, (bin < 0) | (bin >= K) | (bin != bin.long()), f"whole numbers in [0, {K})"),
        ("event", event, (event != 0) & (event != 1), "0 or 1"),
    ):
        if bool(wrong.any()):
            raise ValueError(f"{name} must be {right}; found {values[wrong][0].item()}")
    return -log_likelihood(logits, bin, event).mean()


def _check_shapes(logits: Tensor, bin: Tensor, event: Tensor) -> None:
    if logits.ndim != 2 or bin.shape != logits.shape[:1] or event.shape != logits.shape[:1]:
        shapes = ", ".join(str(tuple(x.shape)) for x in (logits, bin, event))
        raise ValueError(f"logits (B, K), bin (B,) and event (B,) do not fit: {shapes}")


def survival_curve(hazards: Tensor) -> Tensor:
    """Return S(t), (..., K), the probability of outliving each interval, from hazards (..., K) in [0, 1]."""
    return (1 - hazards).cumprod(dim=-1)


def risk_from_hazards(hazards: Tensor) -> Tensor:
    """Return minus the sum of S over the intervals, (...) in [-K, 0], from hazards (..., K). Higher = the event comes earlier."""
    return -survival_curve(hazards).sum(dim=-1)


def survival_risk(logits: Tensor) -> Tensor:
    """Return each patient's risk: minus the sum of S over the intervals.

    Parameters
    ----------
    logits : Tensor
        (B, K), or (..., K), logits of the hazards.

    Returns
    -------
    Tensor
        (B,), or (...), in [-K, 0]. Higher = the event comes earlier: minus the expected number of intervals survived.
    """
    return risk_from_hazards(logits.sigmoid())
