"""Loading of published weights: tensors are renamed to those of the registry's networks and loaded strictly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pathduet.slides.encoders.registry import EncoderEntry
from pathduet.slides.encoders.weights import EncoderUnavailable, import_timm

State = dict[str, Tensor]
Rules = tuple[tuple[str, str | None], ...]

# None: a tensor of the published file that the network does not need
_TRANSFORMERS: Rules = (
    (r"^(?:vit|dinov2)\.", ""),
    (r"^embeddings\.mask_token$", None),
    (r"^pooler\..*", None),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.attention\.", ".attn."),
    # ViTModel
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    # Dinov2Model
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
)
_CLIP: Rules = (
    (r"^(?:text_model|text_projection|logit_scale)\b.*", None),
    (r"^.*\.position_ids$", None),
    (r"^vision_model\.embeddings\.class_embedding$", "cls_token"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^vision_model\.pre_layrnorm\.", "norm_pre."),
    (r"^vision_model\.post_layernorm\.", "norm."),
    (r"^visual_projection\.weight$", "head.weight"),
    (r"^vision_model\.encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.self_attn\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
)
_CONCH: Rules = (
    (r"^visual\.(?:attn_pool_caption|ln_caption|proj_contrast|head)\b.*", None),
    (r"^(?!visual\.).*", None),
    (r"^visual\.", ""),
)
_RESNET: Rules = ((r"^fc\..*", None),)
_QKV = re.compile(r"^(.*\.attn)\.(q|k|v|query|key|value)\.(weight|bias)$")


def load_published(network: nn.Module, entry: EncoderEntry, state: Mapping[str, Any], file: str) -> None:
    """Load a published file's tensors into an entry's network, as float32 and without copying what fits.

    Parameters
    ----------
    network : Module
        As :func:`pathduet.slides.encoders.architectures.build` returns it, on any device or the meta device.
    entry : EncoderEntry
    state : mapping
        The file's content: tensors by name, or a mapping of these under ``state_dict`` or ``model``.
    file : str
        Its name, for error messages.

    Raises
    ------
    EncoderUnavailable
        If names or shapes do not match the network.
    """
    found = translated(network, entry, _tensors(state))
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - found.keys()), sorted(found.keys() - own.keys())
    shapes = [name for name in own.keys() & found.keys() if own[name].shape != found[name].shape]
    if missing or unknown or shapes:
        parts = (
            f"{len(names)} tensors {what} ({names[0]}{', ...' if len(names) > 1 else ''})"
            for names, what in (
                (missing, "missing"),
                (unknown, "unknown"),
                (sorted(shapes), "of another shape"),
            )
            if names
        )
        raise EncoderUnavailable(
            f"{file} does not hold {entry.title} as published: {'; '.join(parts)}; fetch it from {entry.weights_page}"
        )
    network.load_state_dict({name: _plain(tensor) for name, tensor in found.items()}, assign=True)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float() if tensor.is_floating_point() else tensor.detach()


def _tensors(state: Mapping[str, Any]) -> State:
    """Return the tensors of a file, also those under ``state_dict`` or ``model``, without the data-parallel prefix."""
    for key in ("state_dict", "model"):
        if isinstance(state.get(key), Mapping):
            state = state[key]
    return {
        str(name).removeprefix("module."): value for name, value in state.items() if isinstance(value, Tensor)
    }


def translated(network: nn.Module, entry: EncoderEntry, state: State) -> State:
    """Return a published file's tensors under the network's own names."""
    change = _TRANSLATIONS[entry.published]
    return change(network, state)


def _renamed(state: State, rules: Rules) -> State:
    found = {}
    for name, tensor in state.items():
        new: str | None = name
        for pattern, replacement in rules:
            if new is not None and re.search(pattern, new):
                new = None if replacement is None else re.sub(pattern, replacement, new)
        if new is not None:
            found[new] = tensor
    return found


def _joined(state: State) -> State:
    """Return the state with the projections of queries, keys and values joined, as in timm."""
    found, parts = {}, {}
    for name, tensor in state.items():
        if match := _QKV.match(name):
            parts[f"{match[1]}.qkv.{match[3]}", match[2][0]] = tensor
        else:
            found[name] = tensor
    for name in dict.fromkeys(name for name, _ in parts):
        if all((name, part) in parts for part in "qkv"):
            found[name] = torch.cat([parts[name, part] for part in "qkv"])
    return found


def _in_trunk(network: Any, state: State) -> State:
    """Return a transformer's tensors under the names of ``network.trunk``."""
    return {f"trunk.{name}": tensor for name, tensor in state.items()}


def _positions(network: Any, state: State, resample: Callable[[Tensor, int, int], Tensor]) -> State:
    """Return the state with position embeddings resampled to the trunk's grid of patches, if that differs.

    `resample` takes the file's positions, the number of those that are not patches, and the grid's edge.
    """
    trunk, positions = network.trunk, state.get("pos_embed")
    if positions is None or positions.shape[1] == trunk.pos_embed.shape[1]:
        return state
    prefix = 0 if trunk.no_embed_class else trunk.num_prefix_tokens
    return {**state, "pos_embed": resample(positions.float(), prefix, trunk.patch_embed.grid_size[0])}


def _as_timm(positions: Tensor, prefix: int, edge: int) -> Tensor:
    found: Tensor = import_timm().layers.resample_abs_pos_embed(
        positions, [edge, edge], num_prefix_tokens=prefix
    )
    return found


def _as_transformers(positions: Tensor, prefix: int, edge: int, offset: float = 0.0) -> Tensor:
    """Resample like the models of transformers for tiles of another size: bicubic, without antialiasing."""
    side = round((positions.shape[1] - prefix) ** 0.5)
    patches = positions[:, prefix:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    size: dict[str, Any] = {"scale_factor": (edge + offset) / side} if offset else {"size": (edge, edge)}
    patches = nn.functional.interpolate(patches, mode="bicubic", **size)
    return torch.cat([positions[:, :prefix], patches.permute(0, 2, 3, 1).flatten(1, 2)], 1)


def _as_dino(positions: Tensor, prefix: int, edge: int) -> Tensor:
    """Resample likewise, with the tenth of a patch that DINO's code adds to the size."""
    return _as_transformers(positions, prefix, edge, 0.1)


def _timm(network: Any, state: State) -> State:
    return _in_trunk(network, _positions(network, state, _as_timm))


def _transformers(network: Any, state: State) -> State:
    found = _joined(_renamed(state, _TRANSFORMERS))
    if network.trunk.no_embed_class and {"cls_token", "pos_embed"} <= found.keys():
        # timm gives registers and class token no position: the class token's position is added here
        found["cls_token"] = found["cls_token"] + found["pos_embed"][:, :1]
        found["pos_embed"] = found["pos_embed"][:, 1:]
    return _in_trunk(network, _positions(network, found, _as_transformers))


def _clip(network: Any, state: State) -> State:
    found = _joined(_renamed(state, _CLIP))
    if "cls_token" in found:
        found["cls_token"] = found["cls_token"].reshape(1, 1, -1)
    if "pos_embed" in found:
        found["pos_embed"] = found["pos_embed"][None]
    if "head.weight" in found:  # timm's head has a bias, CLIP's projection does not
        found["head.bias"] = torch.zeros(len(found["head.weight"]))
    return _in_trunk(network, _positions(network, found, _as_transformers))


def _conch(network: Any, state: State) -> State:
    return _tower(network, _renamed(state, _CONCH), _as_timm)


def _conch_v1_5(network: Any, state: State) -> State:
    return _tower(network, state, _as_dino)


def _tower(network: Any, state: State, resample: Callable[[Tensor, int, int], Tensor]) -> State:
    trunk = {name.removeprefix("trunk."): t for name, t in state.items() if name.startswith("trunk.")}
    rest = {name: t for name, t in state.items() if not name.startswith("trunk.")}
    return rest | _in_trunk(network, _positions(network, trunk, resample))


def _swin(network: Any, state: State) -> State:
    # timm moved each patch merging from the end of a stage to the start of the next
    found = {}
    for name, tensor in state.items():
        if name.endswith(("attn_mask", "relative_position_index")):
            continue
        found[re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)] = (
            tensor
        )
    return found


def _torchvision(network: Any, state: State) -> State:
    # files from before 2018 lack the batch counters, which do not affect the output
    counters = {n: t for n, t in network.state_dict().items() if n.endswith("num_batches_tracked")}
    zero = {name: torch.zeros((), dtype=torch.long) for name in counters}
    return zero | _renamed(state, _RESNET)


_TRANSLATIONS: dict[str, Callable[[Any, State], State]] = {
    "timm": _timm,
    "vit": _transformers,
    "dinov2": _transformers,
    "clip": _clip,
    "conch": _conch,
    "conch_v1_5": _conch_v1_5,
    "swin": _swin,
    "torchvision": _torchvision,
}
