"""Late fusion: ABMIL's slide vector and an SNN's gene vector, concatenated, added, or multiplied (Concat, Add, Bilinear).

The three fusions of the field's comparisons (Chen et al.: Multimodal Co-Attention Transformer, ICCV 2021, section 4.2; the
paper's reference 5). Bilinear pooling: Chen et al., Pathomic Fusion, IEEE TMI 2020 (eq. 5 and 6): each vector is gated by
both, shortened and extended by a one; a dense layer reads the outer product of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pathduet.models.baselines.abmil import GatedAttention
from pathduet.models.inputs import Answer, Bag, BagConfig, Inputs, NetworkSizes
from pathduet.models.method.gene_vectors import gene_counts, gene_vectors
from pathduet.models.snn import SnnConfig, SnnEncoder

FUSIONS = ("concat", "add", "bilinear")


@dataclass(frozen=True)
class LateFusionConfig(BagConfig):
    """Sizes of ABMIL, the SNN and their fusion.

    Attributes
    ----------
    genes : str
        A subspace's name, ``concat`` or ``parallel``, see :mod:`pathduet.models.method.gene_vectors`.
    width : int
        Width of a tile's token, and of each modality's vector.
    attention_width : int
        Width of the gated attention's hidden layer.
    gene_hidden : int
        Width of the SNN's first hidden layer.
    dropout : float
        Dropout in the SNN and before the classifier, in [0, 1).
    """

    patch_start: str = "random"
    genes: str = "concat"
    width: int = 128
    attention_width: int = 64
    gene_hidden: int = 256
    dropout: float = 0.25


@dataclass(frozen=True)
class BilinearConfig(LateFusionConfig):
    """Sizes of Bilinear: those of :class:`LateFusionConfig`, and the product's.

    Attributes
    ----------
    factor : int
        Length of each vector in the outer product.
    """

    patch_start: str = "principal"
    factor: int = 32


class GatedBilinear(nn.Module):
    """Outer product of two gated, shortened vectors, read by a dense layer (Pathomic Fusion).

    Parameters
    ----------
    width : int
        Width of both vectors and of the result.
    factor : int
        Length of the shortened vectors.
    """

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.content = nn.ModuleList(nn.Linear(width, factor) for _ in range(2))
        self.gates = nn.ModuleList(nn.Linear(2 * width, factor) for _ in range(2))
        self.dense = nn.Linear((factor + 1) ** 2, width)

    def shorten(self, pair: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Return both vectors (B, factor), each gated by both."""
        both = torch.cat(pair, dim=1)
        return [
            torch.relu(content(one)) * torch.sigmoid(gate(both))
            for one, content, gate in zip(pair, self.content, self.gates, strict=True)
        ]

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        """Return (B, width) from two (B, width)."""
        fused: Tensor = torch.relu(self.dense(outer_with_ones(*self.shorten(pair)).flatten(1)))
        return fused


def outer_with_ones(first: Tensor, second: Tensor) -> Tensor:
    """Return the outer product (B, p + 1, q + 1) of [x; 1] and [y; 1] for x (B, p), y (B, q).

    The ones keep the vectors themselves along with their products.
    """
    one = first.new_ones(len(first), 1)
    return torch.einsum("bp,bq->bpq", torch.cat([first, one], dim=1), torch.cat([second, one], dim=1))


class LateFusion(nn.Module):
    """One vector of the slide, one of the genes, fused, then a linear classifier.

    Parameters
    ----------
    sizes : NetworkSizes
        Sizes of data and task.
    config : LateFusionConfig
        The model's own sizes; a :class:`BilinearConfig` for ``bilinear``.
    fusion : str
        ``concat``: [s; g]; ``add``: s + g; ``bilinear``: :class:`GatedBilinear`.
    """

    def __init__(self, sizes: NetworkSizes, config: LateFusionConfig, fusion: str) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion is {fusion!r}; known: {', '.join(FUSIONS)}")
        self.fusion, self.genes = fusion, config.genes
        self.bag = Bag(sizes.feature_dim, config.width, config.magnifications, config.patch_start)
        self.attention = GatedAttention(config.width, config.attention_width)
        snn = SnnConfig((config.gene_hidden, config.width), config.dropout)
        self.snn = SnnEncoder(gene_counts(sizes, config.genes), snn)
        self.bilinear = None
        if fusion == "bilinear":
            assert isinstance(config, BilinearConfig)
            self.bilinear = GatedBilinear(config.width, config.factor)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.width * (2 if fusion == "concat" else 1), sizes.outputs)

    def forward(self, inputs: Inputs) -> Answer:
        """Classify slides with expression."""
        slide, _ = self.attention(self.bag(inputs.patches))
        genes = self.snn(gene_vectors(inputs, self.genes))
        if self.bilinear is not None:
            fused = self.bilinear((slide, genes))
        else:
            fused = torch.cat([slide, genes], dim=1) if self.fusion == "concat" else slide + genes
        return Answer(self.classifier(self.dropout(fused)), fused)


concat_fusion = partial(LateFusion, fusion="concat")
add_fusion = partial(LateFusion, fusion="add")
bilinear_fusion = partial(LateFusion, fusion="bilinear")
