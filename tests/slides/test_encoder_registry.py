"""Encoders of the registry, built without their weights and compared with what is published about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathduet.core import config as configuration
from pathduet.core.errors import InputError
from pathduet.slides.encoders import weights as encoder_weights
from pathduet.slides.encoders.encoder import load_encoder
from pathduet.slides.encoders.listing import encoders_table, tiles
from pathduet.slides.encoders.registry import REGISTRY, EncoderEntry, tile_of
from pathduet.slides.encoders.weights import EncoderUnavailable, find_weights
from pathduet.slides.settings import EncoderSettings, SlideSettings
from pathduet.workflow import config_checks

from . import published_files as files

torch = pytest.importorskip("torch")
pytest.importorskip("timm", reason="timm is not installed")

from pathduet.slides.encoders.architectures import build  # noqa: E402
from pathduet.slides.encoders.published import load_published  # noqa: E402

BUILT = [entry for entry in REGISTRY.values() if entry.published]
#: Parameters of the networks as other people's code counted them in the published models (docs/encoders.md).
PARAMETERS = {
    "uni": 303_350_784, "uni2_h": 681_394_176, "virchow": 631_229_184, "virchow2": 631_239_424,
    "prov_gigapath": 1_134_953_984, "h_optimus_0": 1_134_774_272, "h_optimus_1": 1_134_774_272, "retccl": 23_508_032,
}  # fmt: skip
#: Of files that hold more than the network reads: what is beside it there.
BESIDE = {
    # text tower 110,129,664; text decoder 194,710,272; captions' pooling, norm and the shared projection; temperature
    "conch": (395_232_769, 110_129_664 + 194_710_272 + 2_562_048 + 1_536 + 512 * 512 + 1),
    # mask token; positions of 37 x 37 patches instead of 16 x 16
    "midnight": (1_136_480_768, 1536 + (37 * 37 - 16 * 16) * 1536),
}


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch.set_num_threads(1)
    find_weights.cache_clear()
    load_encoder.cache_clear()


def on_meta(entry: EncoderEntry) -> Any:
    with torch.device("meta"):
        return build(entry).eval()


def parameters(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("entry", BUILT, ids=lambda entry: entry.name)
def test_every_encoder_builds_offline_and_gives_the_width_it_says(entry: EncoderEntry) -> None:
    network = on_meta(entry)
    device = next(network.parameters()).device
    assert network(torch.zeros(2, 3, entry.input_px, entry.input_px, device=device)).shape == (2, entry.width)
    assert entry.input_px is not None and entry.input_px <= entry.tile_px and entry.licence
    assert entry.weights_page.startswith("https://") and entry.files


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_published_number_of_parameters(name: str) -> None:
    assert parameters(on_meta(REGISTRY[name])) == PARAMETERS[name]


@pytest.mark.parametrize("name", BESIDE)
def test_networks_are_the_published_files_but_for_what_is_not_read(name: str) -> None:
    published, beside = BESIDE[name]
    assert parameters(on_meta(REGISTRY[name])) + beside == published


@pytest.mark.parametrize(
    ("name", "shapes", "millions"),
    [
        ("phikon", files.vit(12, 768, 3072, 196, 16), 85.8),
        ("phikon_v2", files.dinov2(24, 1024, 4096, 196, 16), 303.4),
        ("hibou_b", files.dinov2(12, 768, 2048, 256, 14, swiglu=True, registers=4), 85.7),
        ("hibou_l", files.dinov2(24, 1024, 2736, 256, 14, swiglu=True, registers=4), 303.7),
        ("midnight", files.dinov2(40, 1536, 4096, 37 * 37, 14, swiglu=True), 1136.5),
        ("plip", files.clip(12, 768, 3072, 49, 32, 512), 87.8),
    ],
)
def test_transformers_files_fit_tensor_by_tensor(name: str, shapes: files.Shapes, millions: float) -> None:
    entry = REGISTRY[name]
    network = on_meta(entry)
    load_published(network, entry, files.by_formula(shapes, "meta"), "model.safetensors")
    read = {n: s for n, s in shapes.items() if not n.startswith(("pooler", "text_", "logit"))}
    assert sum(int(np.prod(s)) for s in read.values()) / 1e6 == pytest.approx(millions, abs=0.06)
    broken = dict(list(shapes.items())[:-1])
    with pytest.raises(EncoderUnavailable, match=r"model\.safetensors"):
        load_published(network, entry, files.by_formula(broken | {"odd": (1,)}, "meta"), "model.safetensors")


SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 4, "img_size": 56, "patch_size": 14}


@pytest.mark.parametrize(
    ("name", "shapes", "arguments", "expected"),
    [
        ("phikon", files.vit(2, 48, 192, 16, 14), {}, [0.0, -0.02882, -0.07176, -0.0675, -0.18253, -0.17527]),
        ("phikon_v2", files.dinov2(2, 48, 192, 16, 14), {}, [0.0, 0.02133, 0.07811, 0.26409, 0.12281, 0.04728]),
        (
            "hibou_b", files.dinov2(2, 48, 128, 16, 14, swiglu=True, registers=4), {"mlp_ratio": 256 / 48},
            [0.0, 0.1252, 0.03782, 0.27073, 0.13743, 0.22989],
        ),
        # positions of 8 x 8 patches, read at 4 x 4
        (
            "midnight", files.dinov2(2, 48, 128, 64, 14, swiglu=True), {"mlp_ratio": 256 / 48},
            [0.0, 0.11377, 0.11036, 0.0, 0.11779, 0.13714],
        ),
        (
            "plip", files.clip(2, 48, 192, 16, 14, 24), {"num_classes": 24},
            [0.37526, -0.46454, 0.45002, -0.33494, 0.14501, 0.07732],
        ),
    ],
)  # fmt: skip
def test_translated_files_give_the_features_that_transformers_gives(
    name: str, shapes: files.Shapes, arguments: dict[str, Any], expected: list[float]
) -> None:
    """Expected: transformers 5.24 from the same tensors, every sixth of the width."""
    entry = replace(REGISTRY[name], arguments={**REGISTRY[name].arguments, **SMALL, **arguments})
    network = build(entry).eval()
    load_published(network, entry, files.by_formula(shapes), "file")
    with torch.inference_mode():
        found = network(files.tile(56))[0]
    assert found[:: len(found) // 6][:6].tolist() == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(("name", "registers"), [("virchow", 0), ("virchow2", 4)])
def test_class_token_and_mean_of_the_patches_leave_registers_out(name: str, registers: int) -> None:
    entry = replace(REGISTRY[name], arguments={**REGISTRY[name].arguments, **SMALL})
    network = build(entry).eval()
    x = files.tile(56)
    with torch.inference_mode():
        tokens = network.trunk.forward_features(x)
        found = network(x)
    assert tokens.shape[1] == 1 + registers + 16
    assert torch.equal(found, torch.cat([tokens[:, 0], tokens[:, 1 + registers :].mean(1)], 1))


@pytest.mark.parametrize("name", ["conch", "conch_v1_5"])
def test_conchs_pooling_is_attention_of_one_query(name: str) -> None:
    entry = REGISTRY[name]
    pool = on_meta(entry).attn_pool_contrast.to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    tokens = torch.randn(2, 7, pool.ln_k.normalized_shape[0])
    width, heads = entry.width, 8
    if name == "conch":
        q_w, k_w, v_w = (getattr(pool.attn, f"{part}_proj_weight") for part in "qkv")
        biases = pool.attn.in_proj_bias.chunk(3)
        last = pool.attn.out_proj
    else:
        q_w, (k_w, v_w) = pool.to_q.weight, pool.to_kv.weight.chunk(2)
        biases, last = [torch.zeros(width)] * 3, pool.to_out
    with torch.no_grad():
        query, keys = pool.ln_q(pool.query), pool.ln_k(tokens)
        q, k, v = query @ q_w.T + biases[0], keys @ k_w.T + biases[1], keys @ v_w.T + biases[2]
        q, k, v = (part.unflatten(-1, (heads, -1)) for part in (q, k, v))
        share = torch.einsum("qhd,bnhd->bhn", q, k) * (width / heads) ** -0.5
        expected = last(torch.einsum("bhn,bnhd->bhd", share.softmax(-1), v).flatten(1))
        found = pool(tokens)
    assert torch.allclose(found, expected, atol=1e-4, rtol=1e-4)


def small_entry() -> EncoderEntry:
    return replace(
        REGISTRY["lunit_s16"], arguments=SMALL, width=48, input_px=56, repository="someone/small", gated=True
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> EncoderEntry:
    """A small encoder in the registry's place of Lunit's."""
    entry = small_entry()
    monkeypatch.setitem(REGISTRY, "lunit_s16", entry)  # type: ignore[arg-type]
    return entry


def saved(entry: EncoderEntry, path: Path, key: str = "") -> dict[str, Any]:
    torch.manual_seed(5)
    state = build(entry).trunk.state_dict()
    torch.save({key: state} if key else state, path)
    return state


@pytest.mark.parametrize("key", ["", "model", "state_dict"])
def test_weights_are_a_file_or_a_folder_with_whatever_else(
    tmp_path: Path, small: EncoderEntry, key: str
) -> None:
    saved(small, tmp_path / "pytorch_model.bin", key)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "other.pth").write_bytes(b"not read")
    by_folder = load_encoder(EncoderSettings("lunit_s16", weights=str(tmp_path), device="cpu"))
    by_file = load_encoder(
        EncoderSettings("lunit_s16", weights=str(tmp_path / "pytorch_model.bin"), device="cpu")
    )
    batch = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    assert by_folder(batch).shape == (3, 48) and np.array_equal(by_folder(batch), by_file(batch))
    assert by_folder.weights_source == "file:pytorch_model.bin" and by_folder.input_px == 56
    assert (by_folder.mean, by_folder.std) == small.colours


def test_a_folder_of_several_unknown_files_is_refused(tmp_path: Path, small: EncoderEntry) -> None:
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(EncoderUnavailable, match=r"a\.pth, b\.pth"):
        find_weights(EncoderSettings("lunit_s16", weights=str(tmp_path)))


def test_half_precision_is_read_as_float32_and_code_not_at_all(tmp_path: Path, small: EncoderEntry) -> None:
    state = saved(small, tmp_path / "w.pth")
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / "half.pth")
    encoder = load_encoder(EncoderSettings("lunit_s16", weights=str(tmp_path / "half.pth"), device="cpu"))
    assert {p.dtype for p in encoder._model.parameters()} == {torch.float32}
    torch.save({"model": Path("code")}, tmp_path / "code.pth")
    with pytest.raises(EncoderUnavailable, match=r"code\.pth"):
        load_encoder(EncoderSettings("lunit_s16", weights=str(tmp_path / "code.pth"), device="cpu"))


def test_weights_in_hugging_faces_cache_are_found(
    tmp_path: Path, small: EncoderEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    path = tmp_path / "pytorch_model.bin"
    saved(small, path)
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda _, name: str(path) if name == path.name else None
    )
    found = find_weights(EncoderSettings("lunit_s16"))
    assert (found.path, found.source) == (path, "hf_hub:someone/small/pytorch_model.bin")


def test_a_gated_answer_gives_the_page_to_ask_at(
    small: EncoderEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    def refuse(*_: Any, **__: Any) -> None:
        error = GatedRepoError.__new__(GatedRepoError)
        Exception.__init__(error, "403")
        raise error

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(
        EncoderUnavailable, match=r"request access at https://huggingface\.co/someone/small.*HF_TOKEN"
    ):
        find_weights(EncoderSettings("lunit_s16"))


def test_without_a_network_the_ways_out_are_named(
    small: EncoderEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(
        EncoderUnavailable, match=r"model\.safetensors or pytorch_model\.bin from .*encoder\.weights"
    ):
        find_weights(EncoderSettings("lunit_s16"))
    with pytest.raises(EncoderUnavailable, match="TransPath"):
        find_weights(EncoderSettings("ctranspath"))


def test_an_exported_program_is_an_encoder_and_its_pickles_are_not_read(tmp_path: Path) -> None:
    import zipfile

    from .test_encoder_choices import small as network

    model, path = network(), tmp_path / "mine.pt2"
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.zeros(2, 3, 64, 64),), dynamic_shapes={"x": {0: batch}})
    torch.export.save(program, path)
    settings = EncoderSettings("torch_export", weights=str(path), input_px=64, device="cpu")
    encoder = load_encoder(settings)
    pixels = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    x = torch.from_numpy((pixels / 255.0 - encoder.mean) / encoder.std).float().permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = model(x).numpy()
    assert encoder.dim == 8 and np.allclose(encoder(pixels), expected, atol=1e-5)

    with zipfile.ZipFile(path) as archive:
        inside = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(inside)).split("/")[0]
    for extra in ("custom_obj_0", "opaque_obj_0"):
        bad = tmp_path / f"{extra}.pt2"
        with zipfile.ZipFile(bad, "w") as archive:
            for name, content in {**inside, f"{root}/data/constants/{extra}": b"x"}.items():
                archive.writestr(name, content)
        with pytest.raises(EncoderUnavailable, match="graph"):
            load_encoder(replace(settings, weights=str(bad)))
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(EncoderUnavailable, match="exported program"):
        load_encoder(replace(settings, weights=str(tmp_path / "text.pt2")))


def test_a_program_of_a_fixed_number_of_tiles_is_refused(tmp_path: Path) -> None:
    from .test_encoder_choices import small as network

    program = torch.export.export(network(), (torch.zeros(1, 3, 64, 64),))
    torch.export.save(program, tmp_path / "one.pt2")
    with pytest.raises(EncoderUnavailable, match="dynamic_shapes"):
        load_encoder(
            EncoderSettings("torch_export", weights=str(tmp_path / "one.pt2"), input_px=64, device="cpu")
        )


def test_tiles_follow_the_encoder_unless_the_configuration_says_otherwise() -> None:
    def of(**sections: Any) -> tuple[int, float, float]:
        tile = SlideSettings.from_mapping(sections).tile
        return tile.tile_px, tile.mpp_10x, tile.mpp_20x

    assert of() == of(encoder={"name": "random"}) == (224, 1.0, 0.5)
    assert of(encoder={"name": "conch"}) == (512, 1.0, 0.5) and tile_of("conch") == (512, 0.5)
    unsaid = {"tile_px": None, "mpp_20x": None, "mpp_10x": None}
    assert of(encoder={"name": "uni2_h"}, slides=unsaid) == (256, 1.0, 0.5)
    assert of(encoder={"name": "uni2_h"}, slides={"tile_px": 224, "mpp_20x": 0.25}) == (224, 0.5, 0.25)
    assert of(encoder={"name": "ctranspath"}) == (256, 2.0, 1.0)
    assert of(slides={"mpp_10x": 4.0}) == (224, 4.0, 0.5)


def test_the_shipped_configurations_tiles_are_those_of_before() -> None:
    settings = SlideSettings.from_mapping(configuration.defaults()).tile
    assert (settings.tile_px, settings.overlap_px, settings.pixel_sizes) == (224, 0, {"10x": 1.0, "20x": 0.5})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"encoder": {"name": "uni2h"}}, "did you mean uni2_h"),
        ({"encoder": {"name": "uni", "options": {"depth": 3}}}, "encoder.options"),
        ({"slides": {"overlap_px": 224}}, "overlap_px"),
        ({"slides": {"mpp_20x": 1.5, "mpp_10x": 1.0}}, "slides.mpp_10x"),
        ({"slides": {"magnifications": "20x"}, "model": {"magnifications": "10x"}}, "model.magnifications"),
    ],
)
def test_contradictions_are_told(changes: dict[str, Any], named: str) -> None:
    config = configuration.resolve(configuration.merge({"preset": "glioma"}, changes))
    with pytest.raises(InputError, match=named):
        config_checks.check(config, paths=False)


def test_the_table_lists_every_encoder() -> None:
    table = encoders_table()
    names = list(table.columns[0].cells)
    assert names == list(REGISTRY) and len(names) > 20
    assert tiles(REGISTRY["conch"]) == "512 px of 0.5 um, resized to 448"
    assert "on request" in table.columns[-2].cells


def test_encoders_without_timm_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import builtins

    plain = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "timm":
            raise ImportError(name)
        return plain(name, *rest)

    torch.save({"x": torch.zeros(1)}, tmp_path / "w.pth")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EncoderUnavailable, match=r"pathduet\[timm\]"):
        load_encoder(EncoderSettings("uni", weights=str(tmp_path / "w.pth"), device="cpu"))
    assert encoder_weights.cached_weights(REGISTRY["ctranspath"]) is None
