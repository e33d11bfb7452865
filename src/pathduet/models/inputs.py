"""What a network reads of a batch, and what it answers: the one interface of every model of the comparison."""

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
    """What data and task say about a network's shape.

    Attributes
    ----------
    feature_dim : int
        Numbers per tile.
    genes : mapping of str to tuple of str
        Genes in token order by subspace, in the configuration's order; empty if the model does not read expression.
    outputs : int
        Classes, survival intervals, or 1.
    magnifications : tuple of str
        Those of the patches that it is given; empty if the model does not read slides.
    """

    feature_dim: int
    genes: Mapping[str, tuple[str, ...]]
    outputs: int
    magnifications: tuple[str, ...] = ("10x", "20x")


class Answer(NamedTuple):
    """What a model of the comparison answers.

    Attributes
    ----------
    logits : Tensor
        (B, outputs) class logits, logits of the hazards per survival interval, or a number.
    representation : Tensor
        (B, r), what the last linear layer reads.
    auxiliary : dict of str to Tensor
        Scalar losses of the model's own (alignment, reconstruction), weighted, added to the task's loss in training;
        empty in evaluation.
    paired_logits : Tensor, optional
        (B, outputs), in training only: what an imputing model says with the real expression. The task's loss on the slides that have any
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
        Which ones are read.
    experts : bool
        A network of its own for each magnification, their predictions averaged, as the method has two experts; else both are read as one bag
        of tokens (SML attends to each apart).
    """

    magnifications: tuple[str, ...] = ("10x", "20x")
    experts: bool = True


@dataclass(frozen=True)
class BagConfig(SlideConfig):
    """What a network reads of a slide, and where its tokens start.

    Attributes
    ----------
    patch_start : str
        Where the map from features to tokens starts: ``principal`` (the training features' principal axes) or ``random``;
        the better of both on phantoms kept for tuning (docs/results/comparison.md).
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
        Which ones are read, e.g. ``("10x", "20x")``.
    start : str
        Where training starts their maps, see :class:`~pathduet.models.method.patch_tokens.PatchTokens`.
    """

    def __init__(
        self, feature_dim: int, width: int, magnifications: tuple[str, ...], start: str = "principal"
    ) -> None:
        super().__init__()
        self.patches = nn.ModuleDict({m: PatchTokens(feature_dim, width, start) for m in magnifications})

    def forward(self, patches: Mapping[str, Tensor]) -> Tensor:
        """Return (B, N * magnifications, width)."""
        return torch.cat([block(patches[m]) for m, block in self.patches.items()], dim=1)
