"""A baseline network for each magnification: two experts, like the method's.

Averaging two experts gains more than most differences between the models of a comparison, so a table in which one model
has two experts and the others one head would compare the experts.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pathduet.models.inputs import Answer, Inputs


class MagnificationExperts(nn.Module):
    """Networks that share no weights and read one magnification each.

    Their losses are added up in training; their predictions are averaged
    (:meth:`pathduet.training.task_targets.ClassTarget.averaged`).

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
    """Return a network's experts by magnification; without any, the network is one, without magnification."""
    return dict(network.experts.items()) if isinstance(network, MagnificationExperts) else {"": network}


def answers_of(said: Answer | dict[str, Answer]) -> dict[str, Answer]:
    """Return the answers of a network's experts, see :func:`experts_of`."""
    return {"": said} if isinstance(said, Answer) else said
