"""The multi-modal teacher: histology and transcriptome in, one expert per magnification out (stage I)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from pathduet.models.method.config import ModelConfig
from pathduet.models.method.fusion import DisentangledFusion, SubspaceOutput
from pathduet.models.method.gene_tokens import GeneTokens, GeneVector
from pathduet.models.method.patch_tokens import PatchTokens, given


class SharedTokens(NamedTuple):
    """Tokens that the branches of one magnification share, detached so that each branch's gradient is known.

    Attributes
    ----------
    tokens : Tensor
        (B, N, c) patch tokens with their graph.
    read : dict
        By subspace: the same numbers as a leaf, whose gradient is that of the subspace's branch.
    """

    tokens: Tensor
    read: dict[str, Tensor]


class TeacherOutput(NamedTuple):
    """Result of :class:`Teacher`, each a dictionary by magnification (``10x``, ``20x``, or the one that is read).

    Attributes
    ----------
    logits : dict
        (B, outputs) of each expert: class logits, logits of the hazards per survival interval, or a number.
    representation : dict
        (B, K c), X_R of the K subspaces, in their order.
    branches : dict
        By magnification, then by subspace: :class:`SubspaceOutput` with the attention.
    shared : dict
        By magnification: :class:`SharedTokens`, if requested. A backward pass of the logits does not reach their graph.
    """

    logits: dict[str, Tensor]
    representation: dict[str, Tensor]
    branches: dict[str, dict[str, SubspaceOutput]]
    shared: dict[str, SharedTokens]


class Teacher(nn.Module):
    """DMSF at 10x and 20x (or one of them), with a linear classifier each.

    The magnifications share gene tokens (a gene is the same query at both) and nothing else.

    Parameters
    ----------
    config : ModelConfig
        Sizes.
    feature_dim : int
        Numbers per tile.
    genes : mapping of str to int
        Genes of each subspace of `config`.
    outputs : int
        Classes, survival intervals, or 1.

    Raises
    ------
    ValueError
        If `genes` has other subspaces than `config`, or one without genes.
    """

    def __init__(self, config: ModelConfig, feature_dim: int, genes: Mapping[str, int], outputs: int) -> None:
        super().__init__()
        if set(genes) != set(config.subspaces):
            raise ValueError(f"genes of {', '.join(genes)} for subspaces {', '.join(config.subspaces)}")
        self.config = config
        c = config.width
        vector = config.gene_input == "vector"
        self.genes = nn.ModuleDict(
            {
                s: GeneVector(genes[s], c, config.dropout) if vector else GeneTokens(genes[s], c)
                for s in config.subspaces
            }
        )
        self.patches = nn.ModuleDict({m: PatchTokens(feature_dim, c) for m in config.experts})
        self.fusion = nn.ModuleDict({m: DisentangledFusion(config) for m in config.experts})
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.ModuleDict({m: nn.Linear(len(genes) * c, outputs) for m in config.experts})

    def gene_mask(self, subspace: str) -> Tensor:
        """Return (G,) bool, True where a gene token of `subspace` is a gene and not padding."""
        tokens = self.genes[subspace]
        assert isinstance(tokens, GeneTokens | GeneVector)
        return tokens.mask

    def expert(self, magnification: str) -> nn.Linear:
        """Return the classifier of a magnification: K c inputs, c of each subspace in their order."""
        classifier = self.classifier[magnification]
        assert isinstance(classifier, nn.Linear)
        return classifier

    def patch_tokens(self, magnification: str) -> PatchTokens:
        """Return the block that turns a magnification's features into tokens."""
        block = self.patches[magnification]
        assert isinstance(block, PatchTokens)
        return block

    def forward(
        self,
        patches_10x: Tensor | None,
        patches_20x: Tensor | None,
        genes: Mapping[str, Tensor],
        need_selection: bool = False,
        need_attention: bool = True,
        apart: bool = False,
    ) -> TeacherOutput:
        """Classify slides with their expression.

        Parameters
        ----------
        patches_10x, patches_20x : Tensor or None
            (B, N, d) features, N = n x n cells of the token map in row-major order; None if the magnification is not
            read.
        genes : mapping of str to Tensor
            (B, G) z-scores of each subspace's genes in token order; every slide needs expression (slides without it
            are for the student).
        need_selection : bool
            Return the selection layers' attention too.
        need_attention : bool
            Return the attention to the histology; deformable attention always does.
        apart : bool
            Detach the patch tokens from the branches that read them.

        Raises
        ------
        ValueError
            If a magnification that is read is not given, N is not a square number or the number of genes is wrong.
        """
        features = {"10x": patches_10x, "20x": patches_20x}
        gene_tokens = {s: block(genes[s]) for s, block in self.genes.items()}
        masks = {s: self.gene_mask(s) for s in self.genes}
        logits, representation, branches, shared = {}, {}, {}, {}
        for m in self.config.experts:
            tokens = self.patches[m](given(features, m))
            read = dict.fromkeys(self.genes, tokens)
            if apart:
                read = {s: tokens.detach().requires_grad_() for s in self.genes}
                shared[m] = SharedTokens(tokens, read)
            fused = self.fusion[m](read, gene_tokens, masks, need_selection, need_attention)
            representation[m], branches[m] = fused.representation, fused.branches
            logits[m] = self.classifier[m](self.dropout(fused.representation))
        return TeacherOutput(logits, representation, branches, shared)
