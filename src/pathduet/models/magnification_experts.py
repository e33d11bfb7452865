"""A network that others proposed, once a magnification: two experts, as the method has them.

Averaging two experts is worth more than most of what tells the models of a comparison apart, so that a table in which one model
has two experts and the others one head compares the experts.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pathduet.models.inputs import Answer, Inputs


class MagnificationExperts(nn.Module):
    """Networks that share nothing, each of which reads one magnification.

    Their losses are added up in training; what they predict is averaged (:meth:`pathduet.training.task_targets.ClassTarget.averaged`).

    Parameters
    ----------
    experts : mapping of str to Module
        By magnification.
    """

    def __init__(self, experts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.experts = nn.ModuleDict(experts)

    def forward(self, inputs: Inputs) -> dict[str, Answer]:
        """Return each expert's answer."""
        return {m: expert(inputs) for m, expert in self.experts.items()}


def experts_of(network: nn.Module) -> dict[str, nn.Module]:
    """Return a network's experts by magnification; a network that has none is one, without a magnification."""
    return dict(network.experts.items()) if isinstance(network, MagnificationExperts) else {"": network}


def answers_of(said: Answer | dict[str, Answer]) -> dict[str, Answer]:
    """Return the answers of a network's experts, see :func:`experts_of`."""
    return {"": said} if isinstance(said, Answer) else said
