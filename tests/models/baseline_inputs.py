"""Small batches and sizes for tests of the comparison's models."""

from __future__ import annotations

from dataclasses import replace

import torch

from pathduet.catalogue import find
from pathduet.models.inputs import NetworkSizes
from pathduet.models.network_settings import network_settings
from pathduet.training.dataset import Batch


def sizes(**counts: int) -> NetworkSizes:
    """Return the sizes of a task of four classes, with so many genes of each subspace."""
    genes = {name: tuple(f"{name}{i}" for i in range(count)) for name, count in counts.items()}
    return NetworkSizes(6, genes, 4)


SIZES = sizes(tumor=5, tme=9)


def batch(slides: int = 8, tokens: int = 36, sizes: NetworkSizes = SIZES, seed: int = 0) -> Batch:
    """Return random slides; labels run through the classes."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Batch(
        index=torch.arange(slides),
        slide_ids=tuple(f"s{i}" for i in range(slides)),
        patches={m: normal(slides, tokens, sizes.feature_dim) for m in ("10x", "20x")},
        repeats={m: torch.ones(slides, dtype=torch.int64) for m in ("10x", "20x")},
        genes={name: normal(slides, len(genes)) for name, genes in sizes.genes.items()},
        has_expression=torch.ones(slides, dtype=torch.bool),
        label=torch.arange(slides) % sizes.outputs,
        event=(torch.arange(slides) % 3 != 0).float(),
        value=torch.linspace(-1, 1, slides),
    )


def without_expression(items: Batch) -> Batch:
    """Return the batch as a dataset gives it when nobody has expression."""
    return replace(
        items,
        genes={name: torch.zeros_like(values) for name, values in items.genes.items()},
        has_expression=torch.zeros_like(items.has_expression),
    )


def small(name: str, sizes: NetworkSizes = SIZES, **changes: object) -> torch.nn.Module:
    """Return a baseline with seeded weights, narrow where its settings allow, and no dropout."""
    narrow: dict[str, object] = {
        "width": 16, "attention_width": 8, "gene_hidden": 12, "factor": 4, "heads": 2, "head_dim": 8,
        "landmarks": 8, "prototypes": 4, "embedding": 4, "offset_groups": 2, "offset_kernel": 3, "stride": 2, "hidden": (12, 16), "dropout": 0.0, "input_dropout": 0.0, "code": 8,
    }  # fmt: skip
    if name == "survpath":
        narrow["width"] = 32  # its last hidden layer is a quarter of that
    model = find(name)
    known = set(model.load_settings().__dataclass_fields__)
    config = network_settings(model, {k: v for k, v in (narrow | changes).items() if k in known})
    torch.manual_seed(0)
    return model.load_network()(sizes, config)
