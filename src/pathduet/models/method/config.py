"""Settings that determine a network's shape; recorded with every model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from pathduet.core.config import default

TOKEN_ORDERS = ("hilbert", "raster")
EXPERT_RULES = ("max_confidence", "mean")
OFFSET_INPUTS = ("queries", "queries_and_patches")
ATTENTIONS = ("deformable", "plain")
GENE_INPUTS = ("tokens", "vector")
PATCH_STARTS = ("principal", "random")
AGGREGATIONS = ("ita", "mean")
MAGNIFICATIONS = ("10x", "20x")
#: The networks evaluate every order of the subspaces: 8! = 40,320.
MOST_SUBSPACES = 8


@dataclass(frozen=True)
class ModelConfig:
    """Shape of teacher and student.

    Attributes
    ----------
    tokens : int
        Patch tokens per slide and magnification; a square number (they lie on a square map).
    token_order : str
        ``hilbert`` (neighbours on the map are neighbours in the tissue) or ``raster`` (the order in which tiles are listed).
    width : int
        Width c of every token.
    heads, head_dim : int
        Attention heads and the width of each.
    offset_groups : int
        Groups of channels, each sampled at its own points.
    offset_kernel, stride : int
        Kernel of the offset network and spacing of the reference points, in map cells. 50 x 50 tokens at
        stride 4 give 12 x 12 points.
    offset_range_points : float
        Farthest that a reference point can move along each axis, in spacings of the reference points: 4 of 12 points over a map of 50 cells
        are 17 cells.
    offset_input : str
        What the teacher's offsets are computed from: ``queries`` (the gene tokens, eq. 1, which cannot see the tissue) or
        ``queries_and_patches`` (their sum with the patch map, averaged to the grid of the queries).
    dropout : float
        Applied to the output of attention, and to a representation before its classifier.
    neighbors : int
        Nearest neighbours in the density of eq. 10, the token itself included.
    refinements : int
        Rounds in which tokens move to the nearest cluster mean, starting from the density peaks; 0 = nearest peak.
    patch_start : str
        Initial map from features to tokens: ``principal`` (the principal axes of the training features, so that
        distances between tokens follow what varies most in the tissue) or ``random``.
    expert_rule : str
        How the two magnifications' classifiers are combined: ``max_confidence`` (the more confident one
        decides, slide by slide) or ``mean`` of their probabilities. Hazards of survival are always averaged:
        they have no softmax-like confidence.
    attention : str
        How genes (and, in the student, patches) attend to the patches: ``deformable`` (at moved points, eq. 1-3
        and 8-9) or ``plain`` (at every patch token; nothing is sampled).
    magnifications : str
        ``both``, ``10x`` or ``20x``. With one there is one expert, and nothing for eq. 7 to compare.
    gene_input : str
        Teacher: ``tokens`` (one per gene) or ``vector`` (a subspace's genes through a self-normalising network to
        a single query token).
    aggregation : str
        Student: ``ita`` (eq. 8-12) or ``mean`` (the mean of all patch tokens; no attention, no clusters).
    subspaces : tuple of str
        Names of the subspaces, in the order of the representation: each has a branch of the teacher and a
        prototype of the student, with or without expression.
    """

    tokens: int = default("model.tokens")
    token_order: str = default("model.token_order")
    width: int = default("model.width")
    heads: int = default("model.heads")
    head_dim: int = default("model.head_dim")
    offset_groups: int = default("model.offset_groups")
    offset_kernel: int = default("model.offset_kernel")
    stride: int = default("model.stride")
    offset_range_points: float = default("model.offset_range_points")
    offset_input: str = default("model.offset_input")
    dropout: float = default("model.dropout")
    neighbors: int = default("model.neighbors")
    refinements: int = default("model.refinements")
    patch_start: str = default("model.patch_start")
    expert_rule: str = default("model.expert_rule")
    attention: str = default("model.attention")
    magnifications: str = default("model.magnifications")
    gene_input: str = default("model.gene_input")
    aggregation: str = default("model.aggregation")
    subspaces: tuple[str, ...] = tuple(default("subspaces"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "subspaces", tuple(self.subspaces))  # a list, as read from JSON
        for name, value, allowed in (
            ("token_order", self.token_order, TOKEN_ORDERS),
            ("expert_rule", self.expert_rule, EXPERT_RULES),
            ("attention", self.attention, ATTENTIONS),
            ("offset_input", self.offset_input, OFFSET_INPUTS),
            ("magnifications", self.magnifications, ("both", *MAGNIFICATIONS)),
            ("gene_input", self.gene_input, GENE_INPUTS),
            ("patch_start", self.patch_start, PATCH_STARTS),
            ("aggregation", self.aggregation, AGGREGATIONS),
        ):
            if value not in allowed:
                raise ValueError(f"model.{name} is {value!r}; known: {', '.join(allowed)}")
        positive = (
            "tokens",
            "width",
            "heads",
            "head_dim",
            "offset_groups",
            "offset_kernel",
            "stride",
            "neighbors",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        if math.isqrt(self.tokens) ** 2 != self.tokens:
            below = math.isqrt(self.tokens)
            raise ValueError(
                f"model.tokens is {self.tokens}, not a square number; use {below**2} or {(below + 1) ** 2}"
            )
        if self.width % self.offset_groups:
            raise ValueError(
                f"model.width {self.width} is not a multiple of offset_groups {self.offset_groups}"
            )
        if self.offset_kernel < self.stride:
            raise ValueError(f"model.offset_kernel {self.offset_kernel} is smaller than stride {self.stride}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout is {self.dropout}; it must be in [0, 1)")
        if self.refinements < 0:
            raise ValueError(f"model.refinements is {self.refinements}; it must not be negative")
        if self.offset_range_points < 0:
            raise ValueError(
                f"model.offset_range_points is {self.offset_range_points}; it must not be negative"
            )
        if not 1 <= len(set(self.subspaces)) == len(self.subspaces) <= MOST_SUBSPACES:
            raise ValueError(f"{len(self.subspaces)} subspaces; name one to {MOST_SUBSPACES}, each once")
        for name in self.subspaces:
            if hasattr(nn.ModuleDict, name):
                raise ValueError(f"a subspace cannot be called {name!r}, a name that torch needs")

    @property
    def experts(self) -> tuple[str, ...]:
        """Magnifications that are read, each with its own classifier."""
        return MAGNIFICATIONS if self.magnifications == "both" else (self.magnifications,)
