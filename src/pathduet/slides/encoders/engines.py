"""Engines of encoders: torch on a GPU or CPU, onnxruntime on a CPU; uint8 tiles to float32 features."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathduet.core.errors import PathDuetError
from pathduet.core.faults import raise_machine_fault
from pathduet.core.hardware import cpu_has_bfloat16, pick_device, require_compiler
from pathduet.slides.encoders.weights import EncoderUnavailable, Weights
from pathduet.slides.settings import EncoderSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class TileNetwork:
    """A network before it is placed on a device and an engine.

    Attributes
    ----------
    model : Module
    dim : int
        Features per tile.
    mean, std : tuple of float
        Normalisation of RGB in [0, 1] that it was trained with.
    stage : int
        The stage after which a ResNet50 is cut; 0 for other encoders.
    input_px : int, optional
        Edge that tiles are resized to; None = not resized.
    fuse : bool
        Whether batch normalisations may be folded into convolutions.
    """

    model: nn.Module
    dim: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    stage: int = 0
    input_px: int | None = None
    fuse: bool = True


class Encoder:
    """A frozen tile encoder.

    Attributes
    ----------
    name : str
    stage : int
        The stage after which a ResNet50 is cut; 0 for other encoders.
    dim : int
        Features per tile.
    weights_sha256, weights_source : str
    mean, std : (float, float, float)
        Preprocessing: ``(rgb / 255 - mean) / std``.
    input_px : int or None
        Edge that tiles are resized to first; None = not resized.
    device : str
    engine : {"torch", "onnxruntime"}
    """

    def __init__(self, network: TileNetwork, settings: EncoderSettings, weights: Weights) -> None:
        self.name, self.stage, self.dim = settings.name, network.stage, network.dim
        self.weights_sha256, self.weights_source = weights.sha256, weights.source
        self.mean, self.std = settings.mean or network.mean, settings.std or network.std
        self.input_px = settings.input_px or network.input_px
        self.precision, self.device = settings.precision, pick_device(settings.device)
        _check_precision(self.precision, self.device)
        self._model = _placed(network, self.device)
        self._scale, self._shift = self._normalisation()
        self.engine = pick_engine(settings, self.device)
        self._session: Any = self._exported(settings.engine) if self.engine == "onnxruntime" else None
        if self._session is None:
            self.engine = "torch"
            if settings.compile:
                require_compiler("encoder.compile", self.device)
                self._model.compile()

    def _normalisation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and shift that compute ``(rgb / 255 - mean) / std``."""
        import torch

        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        shape = (1, 3, 1, 1)
        return (1.0 / (255.0 * std)).reshape(shape).to(self.device), (-mean / std).reshape(shape).to(
            self.device
        )

    def _exported(self, wanted: str) -> Any:
        """Return an onnxruntime session; None if the export fails and `wanted` is ``auto``."""
        try:
            return self._export()
        except Exception as error:
            raise_machine_fault(error, f"{self.name}, export to ONNX")
            if wanted != "auto":
                raise PathDuetError(
                    f"encoder.engine: {self.name} cannot be exported to onnxruntime "
                    f"({type(error).__name__}); use torch"
                ) from error
            print(f"{self.name} runs on torch: its export to ONNX failed ({error})", file=sys.stderr)
            return None

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode (n, height, width, 3) uint8 RGB tiles to (n, dim) float32."""
        return self.start(tiles)()

    def start(self, tiles: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        """Start encoding; the returned function waits for the features.

        On a GPU the work continues meanwhile, so that the next batch can be assembled.
        """
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(tiles))
        with torch.inference_mode():
            if self.device.startswith("cuda"):
                batch = batch.pin_memory().to(self.device, non_blocking=True)
            if self.input_px and tuple(batch.shape[1:3]) != (self.input_px, self.input_px):
                batch = self._resized(batch)
            if self._session is not None:
                # one tile per thread and call: its activations stay in the cache
                parts = [
                    self._session.run(None, {"tiles": part.numpy()})[0]
                    for part in batch.split(torch.get_num_threads())
                ]
                found = np.concatenate(parts).astype(np.float32, copy=False)
                return lambda: found
            # by rows of pixels: three numbers at a time take three times as long
            scale, shift = (values.flatten().repeat(batch.shape[2]) for values in (self._scale, self._shift))
            rows = batch.flatten(2).float().mul_(scale).add_(shift)
            # NHWC in memory is what channels_last means: no copy here
            x = rows.view(batch.shape).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
            if self.precision == "bfloat16":
                with torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16):
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
        """Return an onnxruntime session of preprocessing and network, twice as fast as torch on CPUs."""
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
                autograd_inlining=False,
                dynamo=False,
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        # idle threads must not spin while tiles are read
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])


class OnnxEncoder(Encoder):
    """A user's ONNX file: normalised (n, 3, h, w) float32 in, (n, dim) out."""

    def __init__(self, settings: EncoderSettings, weights: Weights) -> None:
        import torch

        assert weights.path is not None
        if settings.precision != "float32":
            raise PathDuetError(
                "encoder.precision: an ONNX file has the precision it was exported with; use float32"
            )
        self.name, self.stage, self.engine, self.precision = settings.name, 0, "onnxruntime", "float32"
        self.weights_sha256, self.weights_source = weights.sha256, weights.source
        self.mean, self.std = settings.mean or IMAGENET_MEAN, settings.std or IMAGENET_STD
        self.input_px, self.device = settings.input_px, pick_device(settings.device)
        self._session = _onnx_session(weights.path, self.device)
        self._input = self._session.get_inputs()[0].name
        self.dim = feature_dim(
            weights.path.name, lambda x: torch.from_numpy(self._run(x.numpy())), self.input_px or 224
        )

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self._input: x})[0], np.float32)

    def start(self, tiles: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        """Encode immediately."""
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(tiles))
        if self.input_px and tuple(batch.shape[1:3]) != (self.input_px, self.input_px):
            batch = self._resized(batch)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        x = (batch.numpy().astype(np.float32) / np.float32(255.0) - mean) / std
        found = self._run(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        return lambda: found


def _onnx_session(path: Path, device: str) -> Any:
    import torch

    try:
        import onnxruntime
    except ImportError as error:
        raise EncoderUnavailable(
            "encoder.name: onnx needs onnxruntime: pip install 'pathduet[onnx]'"
        ) from error
    wanted: list[Any] = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        if _CUDA not in onnxruntime.get_available_providers():
            raise PathDuetError(
                "encoder.device: this onnxruntime has no CUDA; install onnxruntime-gpu or use cpu"
            )
        wanted.insert(0, (_CUDA, {"device_id": torch.device(device).index or 0}))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:
        raise EncoderUnavailable(
            f"{path.name} cannot be loaded by onnxruntime ({type(error).__name__})"
        ) from error
    # without CUDA's libraries it falls back to the CPU, and only logs it
    if device.startswith("cuda") and _CUDA not in session.get_providers():
        raise PathDuetError(
            "encoder.device: onnxruntime cannot load the CUDA libraries that it was built for; install them or use cpu"
        )
    return session


def feature_dim(name: str, model: Callable[[torch.Tensor], torch.Tensor], edge: int) -> int:
    """Return the number of features that a model returns for one tile of `edge` pixels; refuse other shapes."""
    import torch

    with torch.inference_mode():
        shape = tuple(model(torch.zeros(1, 3, edge, edge)).shape)
    if len(shape) != 2 or shape[0] != 1:
        raise EncoderUnavailable(
            f"{name} gives an array of {shape} for one tile; it must give (1, features): pool inside the model"
        )
    return int(shape[1])


def _check_precision(precision: str, device: str) -> None:
    if precision == "bfloat16" and device == "cpu" and not cpu_has_bfloat16():
        raise PathDuetError(
            "encoder.precision: bfloat16 needs a GPU, or a CPU with AVX512-BF16 or AMX instructions "
            "(without them it is several times slower than float32); use float32"
        )


def _placed(network: TileNetwork, device: str) -> nn.Module:
    """Return the network on its device, in its fastest form."""
    import torch

    if not network.fuse:
        return network.model.to(device)
    model = fuse_batch_norms(network.model.eval()).to(device)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def pick_engine(settings: EncoderSettings, device: str) -> str:
    """Return ``onnxruntime`` or ``torch`` as configured; ``auto`` is onnxruntime for float32 on CPUs if it is installed."""
    # torch's export needs onnx
    installed = all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))
    if settings.engine == "onnxruntime":
        if not installed:
            raise PathDuetError("encoder.engine: onnxruntime is not installed: pip install 'pathduet[onnx]'")
        if device != "cpu":
            raise PathDuetError("encoder.engine: onnxruntime is for CPUs here; use torch on a GPU")
        if settings.precision != "float32":
            raise PathDuetError("encoder.precision: onnxruntime computes in float32 here; use engine torch")
        return "onnxruntime"
    exportable = settings.name in ("resnet50", "efficientnet_lite0", "random")
    fitting = exportable and device == "cpu" and settings.precision == "float32"
    return "onnxruntime" if settings.engine == "auto" and installed and fitting else "torch"


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
