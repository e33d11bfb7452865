"""Disentangled multi-modal selective fusion (DMSF): equations 1 to 5 of the paper, per magnification.

Two branches, tumor and microenvironment (TME), that share nothing but the patch tokens and meet only in the
classifier. In each, genes attend to the histology (step 1), and what they found attends to the genes (step 2). The
paper leaves the pooling open: here residual, LayerNorm, mean over the genes, LayerNorm, dense, tanh.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pathduet.models.method.attention import MultiHeadAttention
from pathduet.models.method.config import SUBSPACES, ModelConfig
from pathduet.models.method.plain_attention import attention_to_patches


class SubspaceOutput(NamedTuple):
    """Result of :class:`SubspaceFusion`.

    Attributes
    ----------
    representation : Tensor
        (B, c) in (-1, 1); X_R of the subspace.
    attention : Tensor or None
        (B, heads, G, keys); genes to histology (eq. 2). Keys are the reference points, or with plain attention the
        cells of the patch map, and then it is None if it was not asked for.
    selection : Tensor or None
        (B, heads, G, G); fused tokens to genes (eq. 4), if it was asked for.
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
        (B, 2c); tumor first, then TME.
    branches : dict
        :class:`SubspaceOutput` by subspace, ``tumor`` and ``tme``.
    """

    representation: Tensor
    branches: dict[str, SubspaceOutput]


class SubspaceFusion(nn.Module):
    """One branch: attention to the histology, then selection among the genes.

    Parameters
    ----------
    config : ModelConfig
        Sizes.
    """

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
            (G,) or (B, G) bool, True where a gene counts; at least one must. What stands in the other tokens has no
            influence on the representation.
        patches : Tensor
            (B, N, c), N = n x n cells of the patch map.
        need_selection, need_attention : bool
            Return the attention among genes, and to the histology (deformable attention always does).

        Returns
        -------
        SubspaceOutput

        Raises
        ------
        ValueError
            If G or N is no square number.
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
    """DMSF of one magnification: a tumor and a TME branch, made alike, that share no weight.

    Parameters
    ----------
    config : ModelConfig
        Sizes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({subspace: SubspaceFusion(config) for subspace in SUBSPACES})

    def forward(
        self,
        patches: Tensor,
        tumor: Tensor,
        tme: Tensor,
        tumor_mask: Tensor,
        tme_mask: Tensor,
        need_selection: bool = False,
        need_attention: bool = True,
    ) -> FusionOutput:
        """Fuse both subspaces' gene tokens with the patch tokens.

        Parameters
        ----------
        patches : Tensor
            (B, N, c), N = n x n cells of the patch map.
        tumor, tme : Tensor
            (B, G, c) gene tokens of each subspace, each G a square number of its own.
        tumor_mask, tme_mask : Tensor
            (G,) or (B, G) bool, True where a token is a gene.
        need_selection, need_attention : bool
            See :class:`SubspaceFusion`.

        Returns
        -------
        FusionOutput
            X_R = [X_R tumor; X_R tme].

        Raises
        ------
        ValueError
            If a number of tokens is no square number.
        """
        genes = {"tumor": (tumor, tumor_mask), "tme": (tme, tme_mask)}
        branches = {
            s: self.branches[s](*genes[s], patches, need_selection, need_attention) for s in SUBSPACES
        }
        representation = torch.cat([branches[s].representation for s in SUBSPACES], dim=1)  # (B, 2c)
        return FusionOutput(representation, branches)
