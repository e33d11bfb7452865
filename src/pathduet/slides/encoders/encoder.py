"""Loading of tile encoders by name: the network with its weights, on its engine.

Every encoder records the file of its weights and that file's SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import PathDuetError
from pathduet.core.hardware import pick_device
from pathduet.slides.encoders.engines import Encoder, OnnxEncoder, TileNetwork, feature_dim
from pathduet.slides.encoders.registry import REGISTRY, TIMM
from pathduet.slides.encoders.weights import (
    EncoderUnavailable,
    Weights,
    find_weights,
    import_timm,
    load_state,
)
from pathduet.slides.settings import EncoderSettings

if TYPE_CHECKING:
    from torch import nn

_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # of torch.load, which is called with weights_only=False
_RESNET50 = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


def resnet50_trunk(stage: int) -> tuple[nn.Module, int]:
    """Return an untrained ResNet50 cut after `stage` (3 or 4) with global average pool, and its width."""
    from torch import nn

    from pathduet.slides.encoders.resnet50 import ResNet50

    if stage not in (3, 4):
        raise PathDuetError(f"encoder.stage: {stage} is not known; use 3 (1,024 numbers) or 4 (2,048)")
    full = ResNet50()
    parts = [getattr(full, name) for name in _RESNET50[: 4 + stage]]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), 512 * 2 ** (stage - 1) // 2


def _resnet50(settings: EncoderSettings, weights: Weights) -> TileNetwork:
    trunk, dim = resnet50_trunk(settings.stage)
    assert weights.path is not None
    places = {name: str(i) for i, name in enumerate(_RESNET50[: 4 + settings.stage])}
    renamed = {}
    for name, tensor in load_state(weights.path).items():
        head, _, rest = name.partition(".")
        if head in places:
            renamed[f"{places[head]}.{rest}"] = tensor
    missing, unexpected = trunk.load_state_dict(renamed, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise EncoderUnavailable(
            f"{weights.path.name} does not hold a ResNet50 as torchvision names it "
            f"({len(missing)} tensors missing, first {missing[:1]}, {len(unexpected)} unknown)"
        )
    return TileNetwork(trunk, dim, stage=settings.stage)


def _efficientnet_lite0(settings: EncoderSettings, weights: Weights) -> TileNetwork:
    from pathduet.slides.encoders.efficientnet_lite0 import FEATURES, EfficientNetLite0, load_in_order

    assert weights.path is not None
    model = EfficientNetLite0()
    load_in_order(model, load_state(weights.path))
    return TileNetwork(model, FEATURES, *REGISTRY[settings.name].colours)


def _random(settings: EncoderSettings, weights: Weights) -> TileNetwork:
    import torch

    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(settings.seed)
        trunk, dim = resnet50_trunk(settings.stage)
    finally:
        torch.random.set_rng_state(state)
    return TileNetwork(trunk, dim, stage=settings.stage)


def _from_timm(settings: EncoderSettings, weights: Weights) -> TileNetwork:
    import torch

    timm = import_timm()
    assert weights.path is not None
    model_name = settings.name.removeprefix(TIMM)
    # the state is read here, without unpickling, and passed to timm, which adapts heads and old names
    state = load_state(weights.path)
    held = sum(tensor.numel() for tensor in state.values() if torch.is_tensor(tensor))
    try:
        # options that need more memory than the weights are refused before it is allocated
        with torch.device("meta"):
            wanted = timm.create_model(model_name, num_classes=0, **dict(settings.options))
        size = sum(parameter.numel() for parameter in wanted.parameters())
        if size > 2 * held:
            raise ValueError(f"it would have {size:,} parameters, the file holds {held:,}")
        model = timm.create_model(
            model_name,
            pretrained=True,
            num_classes=0,
            pretrained_cfg_overlay={"state_dict": state, "num_classes": _classes(state)},
            **dict(settings.options),
        )
        preset = timm.data.resolve_model_data_config(model)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise EncoderUnavailable(
            f"timm cannot build {model_name} from {weights.path.name} ({type(error).__name__}: {text}); "
            "encoder.options are passed to timm.create_model"
        ) from error
    input_px = int(preset["input_size"][-1])
    dim = feature_dim(model_name, model.eval(), settings.input_px or input_px)
    return TileNetwork(model, dim, tuple(preset["mean"]), tuple(preset["std"]), input_px=input_px, fuse=False)


def _classes(state: dict[str, Any]) -> int:
    """Return the number of classes of a checkpoint's head; 0 without a head."""
    for head in ("head.weight", "fc.weight", "classifier.weight", "head.fc.weight"):
        if head in state:
            return int(state[head].shape[0])
    return 0


def _registered(settings: EncoderSettings, weights: Weights) -> TileNetwork:
    import torch

    from pathduet.slides.encoders.architectures import build
    from pathduet.slides.encoders.published import load_published

    assert weights.path is not None
    entry = REGISTRY[settings.name]
    # no memory or random numbers for weights that are replaced at once
    with torch.device("meta"):
        network = build(entry)
    load_published(network, entry, load_state(weights.path), weights.path.name)
    return TileNetwork(network.eval(), entry.width, *entry.colours, input_px=entry.input_px, fuse=False)


def _torchscript(settings: EncoderSettings, weights: Weights) -> TileNetwork:
    import torch

    assert weights.path is not None
    try:
        model = torch.jit.load(str(weights.path), map_location="cpu").eval()
    except Exception as error:
        raise EncoderUnavailable(
            f"{weights.path.name} cannot be loaded as TorchScript ({type(error).__name__}); make it with torch.jit.trace"
        ) from error
    return TileNetwork(model, feature_dim(weights.path.name, model, settings.input_px or 224), fuse=False)


def _torch_export(settings: EncoderSettings, weights: Weights) -> TileNetwork:
    import torch

    assert weights.path is not None
    name, edge, device = weights.path.name, settings.input_px or 224, pick_device(settings.device)
    try:
        model = load_program(weights.path, device)
    except PathDuetError:
        raise
    except Exception as error:
        raise EncoderUnavailable(
            f"{name} cannot be loaded as an exported program ({type(error).__name__}); make it with torch.export.save"
        ) from error
    try:
        dim = feature_dim(name, lambda x: model(x.to(device)), edge)
        with torch.inference_mode():
            model(torch.zeros(3, 3, edge, edge, device=device))
    except PathDuetError:
        raise
    except Exception as error:
        raise EncoderUnavailable(
            f"{name} does not accept any number of tiles of {edge} pixels ({type(error).__name__}): export it with "
            "dynamic_shapes for the first dimension, and set encoder.input_px"
        ) from error
    return TileNetwork(model, dim, fuse=False)


def load_program(path: Path, device: str) -> nn.Module:
    """Return the module of a .pt2 file on a device; refuse a file with anything but a graph and plain tensors.

    torch.export.load unpickles all else: objects are refused here, and tensors are read with ``weights_only``.
    """
    import os
    import zipfile

    import torch

    if not zipfile.is_zipfile(path):
        raise EncoderUnavailable(
            f"{path.name} cannot be loaded as an exported program; make it with torch.export.save"
        )
    with zipfile.ZipFile(path) as archive:
        parts = archive.namelist()
    # older archives lack this marker, and were pickles
    marked = any(part.endswith("/archive_format") for part in parts)
    if not marked or any(kind in part for part in parts for kind in ("custom_obj_", "opaque_obj_")):
        raise EncoderUnavailable(
            f"{path.name} is not a graph and its tensors alone; export the network again with torch 2.8 or newer"
        )
    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"
    try:
        program = torch.export.load(path)
    finally:
        if before is None:
            del os.environ[_WEIGHTS_ONLY]
        else:
            os.environ[_WEIGHTS_ONLY] = before
    if device != "cpu":  # a graph records its own devices
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()


_BUILDERS: dict[str, Callable[[EncoderSettings, Weights], TileNetwork]] = {
    "resnet50": _resnet50,
    "efficientnet_lite0": _efficientnet_lite0,
    "random": _random,
    "torchscript": _torchscript,
    "torch_export": _torch_export,
}


@lru_cache(maxsize=2)
def load_encoder(settings: EncoderSettings) -> Encoder:
    """Return the configured encoder, ready on its device; loaded once per process.

    Raises
    ------
    EncoderUnavailable
        If its weights are not available.
    PathDuetError
        If the settings do not fit the machine (no GPU, bfloat16 on a CPU).
    """
    weights = find_weights(settings)
    if settings.name == "onnx":
        return OnnxEncoder(settings, weights)
    build = _from_timm if settings.name.startswith(TIMM) else _BUILDERS.get(settings.name, _registered)
    return Encoder(build(settings, weights), settings, weights)
