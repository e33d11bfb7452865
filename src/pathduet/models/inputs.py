"""Input and output of a network: the interface shared by all models of the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pathduet.models.method.patch_tokens import PatchTokens


class Inputs(Protocol):
    """B slides with N tile features of width d at each magnification, and their expression.

    :class:`pathduet.training.dataset.Batch` is one.
    """

    @property
    def patches(self) -> Mapping[str, Tensor]:
        """(B, N, d) features by magnification."""

    @property
    def genes(self) -> Mapping[str, Tensor]:
        """(B, G) z-scores by subspace; zeros where there is no expression."""

    @property
    def has_expression(self) -> Tensor:
        """(B,) bool."""


@dataclass(frozen=True)
class NetworkSizes:
    """Sizes of a network that data and task determine.

    Attributes
    ----------
    feature_dim : int
        Numbers per tile.
    genes : mapping of str to tuple of str
        Genes in token order by subspace, in the configuration's order; empty if the model does not read expression.
    outputs : int
        Classes, survival intervals, or 1.
    magnifications : tuple of str
        Magnifications of its patches; empty if the model does not read slides.
    """

    feature_dim: int
    genes: Mapping[str, tuple[str, ...]]
    outputs: int
    magnifications: tuple[str, ...] = ("10x", "20x")


class Answer(NamedTuple):
    """Output of a model of the comparison.

    Attributes
    ----------
    logits : Tensor
        (B, outputs) class logits, logits of the hazards per survival interval, or a number.
    representation : Tensor
        (B, r), what the last linear layer reads.
    auxiliary : dict of str to Tensor
        The model's own scalar losses (alignment, reconstruction), weighted, added to the task's loss in training;
        empty in evaluation.
    paired_logits : Tensor, optional
        (B, outputs), in training only: an imputing model's logits with the real expression. The task's loss on the slides that have any
        is added.
    """

    logits: Tensor
    representation: Tensor
    auxiliary: Mapping[str, Tensor] = MappingProxyType({})
    paired_logits: Tensor | None = None


@runtime_checkable
class CoordinatedSubspaces(Protocol):
    """A model whose subspaces meet in one classifier, where training coordinates their gradients."""

    @property
    def subspaces(self) -> tuple[str, ...]:
        """Their names."""

    def subspace_classifier(self) -> nn.Linear:
        """Return the classifier: its representation is c numbers of each subspace, in their order."""


@dataclass(frozen=True)
class SlideConfig:
    """What a network reads of a slide.

    Attributes
    ----------
    magnifications : tuple of str
        Magnifications that are read.
    experts : bool
        One network per magnification, predictions averaged, like the method's two experts; else both are read as one bag
        of tokens (SML attends to each separately).
    """

    magnifications: tuple[str, ...] = ("10x", "20x")
    experts: bool = True


@dataclass(frozen=True)
class BagConfig(SlideConfig):
    """What a network reads of a slide, and where its tokens start.

    Attributes
    ----------
    patch_start : str
        Initial map from features to tokens: ``principal`` (the training features' principal axes) or ``random``;
        the better of the two on phantoms kept for tuning (docs/results/comparison.md).
    """

    patch_start: str = "principal"


class Bag(nn.Module):
    """Tiles of the chosen magnifications as one bag of tokens, each magnification through its own PatchTokens.

    Parameters
    ----------
    feature_dim : int
        Numbers per tile.
    width : int
        Width of a token.
    magnifications : tuple of str
        Magnifications that are read, e.g. ``("10x", "20x")``.
    start : str
        Their maps' initial weights, see :class:`~pathduet.models.method.patch_tokens.PatchTokens`.
    """

    def __init__(
        self, feature_dim: int, width: int, magnifications: tuple[str, ...], start: str = "principal"
    ) -> None:
        super().__init__()
        self.patches = nn.ModuleDict({m: PatchTokens(feature_dim, width, start) for m in magnifications})

    def forward(self, patches: Mapping[str, Tensor]) -> Tensor:
        """Return (B, N * magnifications, width)."""
        return torch.cat([block(patches[m]) for m, block in self.patches.items()], dim=1)
