"""Names and shapes of published files of weights, as transformers writes them, and tensors made by formula."""

from __future__ import annotations

from collections.abc import Iterable

import torch

Shapes = dict[str, tuple[int, ...]]


def by_formula(shapes: Shapes, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Return tensors of these shapes that are the same everywhere: a wave of another length for every name."""
    if device == "meta":
        return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    found = {}
    for i, (name, shape) in enumerate(sorted(shapes.items())):
        n = int(torch.tensor(shape).prod())
        wave = torch.sin(torch.arange(n, dtype=torch.float64) * (0.37 + 0.011 * i))
        found[name] = (0.2 * wave).float().reshape(shape)
    return found


def tile(edge: int) -> torch.Tensor:
    """Return one normalised tile, (1, 3, edge, edge)."""
    n = 3 * edge * edge
    return torch.sin(torch.arange(n, dtype=torch.float64) * 0.731).float().reshape(1, 3, edge, edge)


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norms(names: Iterable[str], width: int) -> Shapes:
    return {f"{name}.{part}": (width,) for name in names for part in ("weight", "bias")}


def vit(depth: int, width: int, hidden: int, patches: int, patch: int) -> Shapes:
    """Return the tensors of a ViTModel."""
    shapes: Shapes = _embeddings(width, patches, patch) | _norms(["layernorm"], width)
    for i in range(depth):
        block = f"encoder.layer.{i}"
        shapes |= _attention(block, width)
        shapes |= _norms([f"{block}.layernorm_before", f"{block}.layernorm_after"], width)
        shapes |= _linear(f"{block}.intermediate.dense", width, hidden) | _linear(
            f"{block}.output.dense", hidden, width
        )
    return shapes | _linear("pooler.dense", width, width)


def dinov2(
    depth: int, width: int, hidden: int, patches: int, patch: int, swiglu: bool = False, registers: int = 0
) -> Shapes:
    """Return the tensors of a Dinov2Model; `hidden` is the width between the layers of a block's MLP."""
    shapes: Shapes = _embeddings(width, patches, patch) | _norms(["layernorm"], width)
    shapes["embeddings.mask_token"] = (1, width)
    if registers:
        shapes["embeddings.register_tokens"] = (1, registers, width)
    first, last = ("weights_in", "weights_out") if swiglu else ("fc1", "fc2")
    for i in range(depth):
        block = f"encoder.layer.{i}"
        shapes |= _attention(block, width) | _norms([f"{block}.norm1", f"{block}.norm2"], width)
        shapes |= {f"{block}.layer_scale{k}.lambda1": (width,) for k in (1, 2)}
        shapes |= _linear(f"{block}.mlp.{first}", width, hidden * (2 if swiglu else 1))
        shapes |= _linear(f"{block}.mlp.{last}", hidden, width)
    return shapes


def clip(depth: int, width: int, hidden: int, patches: int, patch: int, projection: int) -> Shapes:
    """Return the tensors of a CLIPModel's image side, with two of those that are not."""
    top = "vision_model"
    shapes: Shapes = {
        f"{top}.embeddings.class_embedding": (width,),
        f"{top}.embeddings.patch_embedding.weight": (width, 3, patch, patch),
        f"{top}.embeddings.position_embedding.weight": (patches + 1, width),
        f"{top}.embeddings.position_ids": (1, patches + 1),
        "visual_projection.weight": (projection, width),
        "text_projection.weight": (projection, 32),
        "logit_scale": (1,),
    }
    shapes |= _norms([f"{top}.pre_layrnorm", f"{top}.post_layernorm"], width)
    for i in range(depth):
        block = f"{top}.encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{block}.self_attn.{part}", width, width)
        shapes |= _norms([f"{block}.layer_norm1", f"{block}.layer_norm2"], width)
        shapes |= _linear(f"{block}.mlp.fc1", width, hidden) | _linear(f"{block}.mlp.fc2", hidden, width)
    return shapes


def _embeddings(width: int, patches: int, patch: int) -> Shapes:
    return {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.position_embeddings": (1, patches + 1, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (width,),
    }


def _attention(block: str, width: int) -> Shapes:
    shapes: Shapes = {}
    for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
        shapes |= _linear(f"{block}.attention.{part}", width, width)
    return shapes
