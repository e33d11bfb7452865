"""Untrained networks of the registry's encoders: timm's if available, plus the few layers that it lacks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pathduet.slides.encoders.registry import EncoderEntry
from pathduet.slides.encoders.resnet50 import ResNet50
from pathduet.slides.encoders.weights import import_timm


def build(entry: EncoderEntry) -> nn.Module:
    """Return an entry's network with random weights; on the meta device it takes neither time nor memory.

    Raises
    ------
    EncoderUnavailable
        If it needs timm, which is not installed.
    """
    own = {"conch": Conch, "conch_v1_5": ConchV15, "ctranspath": ctranspath, "resnet50": _resnet50}
    if entry.architecture in own:
        return own[entry.architecture]()
    arguments: dict[str, Any] = {"num_classes": 0, **entry.arguments}
    return Tokens(_vit(entry.architecture, **arguments), entry.output)


def _vit(architecture: str, swiglu: bool = False, norm_eps: float | None = None, **arguments: Any) -> Any:
    timm = import_timm()
    if swiglu:
        arguments |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": nn.SiLU}
    if norm_eps is not None:
        arguments["norm_layer"] = partial(nn.LayerNorm, eps=norm_eps)
    return timm.create_model(architecture, pretrained=False, **arguments)


def _resnet50() -> nn.Module:
    network = ResNet50()
    network.fc = nn.Identity()
    return network


class Tokens(nn.Module):
    """A vision transformer and the outputs of its last layer that describe the tile.

    Parameters
    ----------
    trunk : timm's VisionTransformer
    output : {"class", "class_and_mean"}
        The class token (through the head, if the trunk has one), or it and the mean of the patch tokens.
    """

    def __init__(self, trunk: Any, output: str) -> None:
        super().__init__()
        self.trunk, self.output = trunk, output

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, width) of normalised tiles (B, 3, H, W)."""
        tokens = self.trunk.forward_features(x)
        if self.output == "class":
            return self.trunk.forward_head(tokens)
        # register tokens follow the class token; they are not patches
        patches = tokens[:, self.trunk.num_prefix_tokens :]
        return torch.cat([tokens[:, 0], patches.mean(1)], 1)


class Conch(nn.Module):
    """CONCH's vision tower up to its contrastive pooling, before the projection to the space of texts: (B, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _vit("vit_base_patch16_224", img_size=448, num_classes=0)
        self.attn_pool_contrast = _Pooler(512, 768)
        self.ln_contrast = nn.LayerNorm(512)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 512) of normalised tiles (B, 3, 448, 448)."""
        return self.ln_contrast(self.attn_pool_contrast(self.trunk.forward_features(x)))


class _Pooler(nn.Module):
    """One learned query that attends to all tokens."""

    def __init__(self, width: int, tokens: int, heads: int = 8) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, width))
        self.attn = nn.MultiheadAttention(width, heads, kdim=tokens, vdim=tokens, batch_first=True)
        self.ln_q, self.ln_k = nn.LayerNorm(width), nn.LayerNorm(tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        keys = self.ln_k(tokens)
        query = self.ln_q(self.query).expand(len(tokens), -1, -1)
        pooled: Tensor = self.attn(query, keys, keys, need_weights=False)[0][:, 0]
        return pooled


class ConchV15(nn.Module):
    """CONCH v1.5, the patch encoder of TITAN: (B, 768)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _vit("vit_large_patch16_224", img_size=448, num_classes=0, init_values=1.0)
        self.attn_pool_contrast = _BiaslessPooler(768, 1024)
        self.ln_contrast = nn.LayerNorm(768)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 768) of normalised tiles (B, 3, 448, 448)."""
        return self.ln_contrast(self.attn_pool_contrast(self.trunk.forward_features(x)))


class _BiaslessPooler(nn.Module):
    """One learned query that attends to all tokens, through projections without bias."""

    def __init__(self, width: int, tokens: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.zeros(1, width))
        self.ln_q, self.ln_k = nn.LayerNorm(width), nn.LayerNorm(tokens)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(tokens, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        n = len(tokens)
        query = self.to_q(self.ln_q(self.query)).expand(n, -1, -1)
        parts = (query, *self.to_kv(self.ln_k(tokens)).chunk(2, dim=-1))
        q, k, v = (part.reshape(n, part.shape[1], self.heads, -1).transpose(1, 2) for part in parts)
        pooled = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, -1)
        return self.to_out(pooled)


def ctranspath() -> nn.Module:
    """Return CTransPath: Swin-T with three convolutions as patch embedding; (B, 3, 224, 224) to (B, 768)."""
    stem: list[nn.Module] = []
    channels = 3
    with torch.device("cpu"):  # its window masks are computed, not loaded
        network = import_timm().create_model("swin_tiny_patch4_window7_224", pretrained=False, num_classes=0)
        for outputs in (12, 24):
            stem += [
                nn.Conv2d(channels, outputs, 3, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
            channels = outputs
        network.patch_embed.proj = nn.Sequential(*stem, nn.Conv2d(channels, 96, 1))
    return network
