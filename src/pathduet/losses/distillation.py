"""Prediction-level distillation: equations 13 and 14, scaled by tau squared (Hinton et al. 2015)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pathduet.models.precision import at_least_float32


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """Return tau^2 KL(teacher || student) of the softened class probabilities, batch mean.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor
        (B, K). The teacher's get no gradient. Half precision is converted to float32.
    temperature : float
        tau, on both sides; above 0.

    Returns
    -------
    Tensor
        Scalar, at least 0; 0 if and only if the distributions agree.

    Raises
    ------
    ValueError
        If the shapes differ or the temperature is not above 0.

    References
    ----------
    Equations 13 and 14 of the paper; Hinton, Vinyals and Dean, Distilling the knowledge in a neural network, 2015, for
    tau squared, which keeps the gradient's size.
    """
    student_logits, teacher_logits = _checked(student_logits, teacher_logits, temperature)
    student = F.log_softmax(student_logits / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(dim=-1).mean()


def hazard_distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0
) -> Tensor:
    """Return tau^2 times the KL divergence of softened hazards, summed over the intervals, batch mean.

    Hazards are not a distribution over the intervals, so a softmax over them would be meaningless: each is a
    separate Bernoulli probability, sigmoid(logit / tau), and the divergences of independent Bernoulli
    variables add up.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor
        (B, K) logits of the hazards. The teacher's get no gradient.
    temperature : float
        tau, on both sides; above 0.

    Returns
    -------
    Tensor
        Scalar, at least 0; 0 if and only if the hazards agree.

    Raises
    ------
    ValueError
        If the shapes differ or the temperature is not above 0.
    """
    student_logits, teacher_logits = _checked(student_logits, teacher_logits, temperature)
    s, t = student_logits / temperature, teacher_logits / temperature
    happens = t.sigmoid() * (F.logsigmoid(t) - F.logsigmoid(s))
    spared = (-t).sigmoid() * (F.logsigmoid(-t) - F.logsigmoid(-s))
    return temperature**2 * (happens + spared).sum(dim=-1).mean()


def _checked(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return both logits, the teacher's without gradient, in float32 or better."""
    if student_logits.shape != teacher_logits.shape:
        shapes = f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        raise ValueError(f"logits of student and teacher differ in shape: {shapes}")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")
    return at_least_float32(student_logits), at_least_float32(teacher_logits.detach())
