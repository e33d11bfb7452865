"""Prediction-level distillation: equations 13 and 14, scaled by tau squared (Hinton et al. 2015)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """Return tau^2 KL(teacher || student) of the softened class probabilities, batch mean.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor
        (B, K). The teacher's get no gradient.
    temperature : float
        tau, on both sides.

    Returns
    -------
    Tensor
        Scalar, at least 0; 0 if and only if the distributions agree.
    """
    student = F.log_softmax(student_logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(dim=-1).mean()


def hazard_distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0
) -> Tensor:
    """Return tau^2 times the KL divergence of softened hazards, summed over the intervals, batch mean.

    Hazards are no distribution over the intervals, so a softmax over them would compare nothing: each is a
    Bernoulli probability of its own, sigmoid(logit / tau), and the divergences of independent Bernoulli
    variables add up.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor
        (B, K) logits of the hazards. The teacher's get no gradient.
    temperature : float
        tau, on both sides.
    """
    s, t = student_logits / temperature, teacher_logits.detach() / temperature
    dies = t.sigmoid() * (F.logsigmoid(t) - F.logsigmoid(s))
    lives = (-t).sigmoid() * (F.logsigmoid(-t) - F.logsigmoid(-s))
    return temperature**2 * (dies + lives).sum(dim=-1).mean()
