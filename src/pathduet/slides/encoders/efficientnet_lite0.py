"""EfficientNet-Lite0 without its classifier: 224 x 224 RGB to 1,280 numbers.

M. Tan & Q. Le, EfficientNet, ICML 2019, in the Lite form (no squeeze-and-excitation, ReLU6, fixed stem and head). Weights
converted from TensorFlow expect its "SAME" padding, which at stride 2 pads more on the right and bottom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 1280
# expansion, kernel, stride, output channels, blocks
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_EPSILON = 1e-3


def _same(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int) -> Tensor:
    kernel = weight.shape[-1]
    if stride == 1:
        return F.conv2d(x, weight, bias, 1, kernel // 2, 1, groups)
    pad_h, pad_w = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:])
    x = F.pad(x, (pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2))
    return F.conv2d(x, weight, bias, stride, 0, 1, groups)


class _OneNode(torch.autograd.Function):
    """In ONNX, a convolution that pads itself: with nodes that pad before it, a tile takes a fifth longer."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        return _same(*inputs)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, stride: int, groups: int) -> Any:
        strides = [stride, stride]
        return g.op("Conv", x, weight, bias, auto_pad_s="SAME_UPPER", strides_i=strides, group_i=groups)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "SAME" padding."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C_out, ceil(H / stride), ceil(W / stride)) of (B, C_in, H, W)."""
        convolve = _OneNode.apply if torch.onnx.is_in_onnx_export() else _same
        return convolve(x, self.weight, self.bias, self.stride[0], self.groups)


def _unit(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> list[nn.Module]:
    return [
        SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=_EPSILON),
    ]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; add the input if the shapes match."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*_unit(inputs, wide, 1, 1), nn.ReLU6(inplace=True)]
        layers += [*_unit(wide, wide, kernel, stride, groups=wide), nn.ReLU6(inplace=True)]
        layers += _unit(wide, outputs, 1, 1)
        self.layers = nn.Sequential(*layers)
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C_out, H', W') of (B, C_in, H, W)."""
        out = self.layers(x)
        return out + x if self.adds_input else out


class EfficientNetLite0(nn.Module):
    """The trunk and global average pool; (B, 3, H, W) to (B, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_unit(3, 32, 3, 2), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        channels = 32
        for expansion, kernel, stride, outputs, repeats in _STAGES:
            for i in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if i == 0 else 1, expansion))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*_unit(channels, FEATURES, 1, 1), nn.ReLU6(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, 1280) of normalised tiles (B, 3, H, W)."""
        return self.head(self.blocks(self.stem(x))).mean((2, 3))


def load_in_order(model: EfficientNetLite0, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Load a checkpoint whose tensors have this model's order, whatever their names.

    Returns
    -------
    weight, bias : Tensor
        The checkpoint's classifier, (classes, 1280) and (classes,), which the model itself lacks.

    Raises
    ------
    ValueError
        If the number of tensors or their shapes differ.
    """
    tensors = [t for name, t in state.items() if not name.endswith("num_batches_tracked")]
    own = {name: t for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    if len(tensors) != len(own) + 2 or any(a.shape != b.shape for a, b in zip(own.values(), tensors)):
        raise ValueError("the checkpoint does not hold an EfficientNet-Lite0")
    model.load_state_dict(dict(zip(own, tensors)), strict=False)
    return tensors[-2], tensors[-1]
