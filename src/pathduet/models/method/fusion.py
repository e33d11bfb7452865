"""Disentangled multi-modal selective fusion (DMSF): equations 1 to 5 of the paper, per magnification.

One branch per subspace; the branches share nothing but the patch tokens and meet only in the classifier. In each, genes attend to the histology (step 1), and the result attends to the genes (step 2). The
paper leaves the pooling open: here residual, LayerNorm, mean over the genes, LayerNorm, dense, tanh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pathduet.models.method.attention import MultiHeadAttention
from pathduet.models.method.config import ModelConfig
from pathduet.models.method.plain_attention import attention_to_patches


class SubspaceOutput(NamedTuple):
    """Result of :class:`SubspaceFusion`.

    Attributes
    ----------
    representation : Tensor
        (B, c) in (-1, 1); X_R of the subspace.
    attention : Tensor or None
        (B, heads, G, keys); genes to histology (eq. 2). Keys are the reference points, or with plain attention the
        cells of the patch map, and then it is None unless requested.
    selection : Tensor or None
        (B, heads, G, G); fused tokens to genes (eq. 4), if requested.
    offsets : Tensor
        (B, groups, h, w, 2); movement of the reference points in map cells.
    """

    representation: Tensor
    attention: Tensor | None
    selection: Tensor | None
    offsets: Tensor


class FusionOutput(NamedTuple):
    """Result of :class:`DisentangledFusion`.

    Attributes
    ----------
    representation : Tensor
        (B, K c) of K subspaces, in their order.
    branches : dict
        :class:`SubspaceOutput` by subspace.
    """

    representation: Tensor
    branches: dict[str, SubspaceOutput]


class SubspaceFusion(nn.Module):
    """One branch: attention to the histology, then selection among the genes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config.width
        self.deformation = attention_to_patches(config)
        # At the few reference points the matrix costs nothing; at all N patches it is most of a step's memory.
        self.always_attention = config.attention == "deformable"
        self.selection = MultiHeadAttention(c, config.heads, config.head_dim, config.dropout)
        self.norm = nn.LayerNorm(c)
        self.pooled_norm = nn.LayerNorm(c)
        self.dense = nn.Linear(c, c)

    def forward(
        self,
        genes: Tensor,
        gene_mask: Tensor,
        patches: Tensor,
        need_selection: bool = False,
        need_attention: bool = True,
    ) -> SubspaceOutput:
        """Fuse the gene tokens of one subspace with the patch tokens.

        Parameters
        ----------
        genes : Tensor
            (B, G, c), G = g x g cells of a square grid.
        gene_mask : Tensor
            (G,) or (B, G) bool, True where a gene counts; at least one must. The other tokens have no
            influence on the representation.
        patches : Tensor
            (B, N, c), N = n x n cells of the patch map.
        need_selection, need_attention : bool
            Return the attention among genes, and to the histology (deformable attention always does).

        Raises
        ------
        ValueError
            If G or N is not a square number.
        """
        deformed = self.deformation(
            genes, patches, query_mask=gene_mask, need_attention=need_attention or self.always_attention
        )  # eq. 1-3
        selected, selection = self.selection(deformed.tokens, genes, gene_mask, need_selection)  # eq. 4-5
        fused = self.norm(deformed.tokens + selected)  # (B, G, c)
        weights = gene_mask.to(fused.dtype).expand(fused.shape[:2]).unsqueeze(-1)  # (B, G, 1)
        pooled = torch.where(weights > 0, fused, 0).sum(dim=1) / weights.sum(dim=1)  # (B, c)
        representation = torch.tanh(self.dense(self.pooled_norm(pooled)))
        return SubspaceOutput(representation, deformed.attention, selection, deformed.offsets)


class DisentangledFusion(nn.Module):
    """DMSF of one magnification: one branch per subspace, of the same structure, with no shared weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({name: SubspaceFusion(config) for name in config.subspaces})

    def forward(
        self,
        patches: Mapping[str, Tensor],
        genes: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        need_selection: bool = False,
        need_attention: bool = True,
    ) -> FusionOutput:
        """Fuse the subspaces' gene tokens with the patch tokens.

        Parameters
        ----------
        patches : mapping of str to Tensor
            (B, N, c) as each subspace's branch reads them, N = n x n cells of the patch map.
        genes : mapping of str to Tensor
            (B, G, c) gene tokens of each subspace; G may differ but is always a square number.
        masks : mapping of str to Tensor
            (G,) or (B, G) bool of each subspace, True where a token is a gene.
        need_selection, need_attention : bool
            See :class:`SubspaceFusion`.

        Returns
        -------
        FusionOutput
            X_R, the subspaces' representations concatenated.

        Raises
        ------
        ValueError
            If a number of tokens is not a square number.
        """
        branches = {
            name: branch(genes[name], masks[name], patches[name], need_selection, need_attention)
            for name, branch in self.branches.items()
        }
        representation = torch.cat([found.representation for found in branches.values()], dim=1)  # (B, K c)
        return FusionOutput(representation, branches)
