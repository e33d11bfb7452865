"""Slides that hang, eat memory or are damaged in every way, and one of ten gigapixels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pathduet.slides import isolation
from pathduet.slides.batch import run_batch
from pathduet.slides.settings import EncoderSettings, LimitSettings, SlideSettings

from .fuzz import MUTATIONS, REAL, fuzz, layout, made_slides
from .huge_slide import write_huge
from .synthetic_slides import slide_row, small_settings, stained_image, write_svs

HERE = Path(__file__).parent


@pytest.mark.slow
def test_a_slide_that_hangs_or_takes_too_much_memory_is_stopped_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        isolation, "worker_command", lambda: [sys.executable, str(HERE / "crashing_worker.py")]
    )
    names = ["a", "hang", "b", "greedy", "c"]
    rows = [
        slide_row(write_svs(tmp_path / f"{n}.svs", stained_image(640, 640, i))) for i, n in enumerate(names)
    ]
    settings = SlideSettings(small_settings().tile, limits=LimitSettings(20.0, 1500))
    statuses = run_batch(rows, ["tile"], tmp_path / "r", settings, tmp_path / "m.tsv", workers=2)
    assert [s.reason for s in statuses] == ["", "time_limit", "", "memory_limit", ""]
    assert "slides.time_limit_s" in statuses[1].message and "slides.memory_limit_mib" in statuses[3].message


def test_a_tiffs_layout_is_understood(tmp_path: Path) -> None:
    sources = {path.name: layout(path.read_bytes()) for path in made_slides(tmp_path)}
    assert sources["region.jpg"] is None
    assert len(sources["made.svs"].directories) == 2 and sources["big.tif"].big  # type: ignore[union-attr]
    assert all(found is None or {256, 257} <= set(found.entries) for found in sources.values())


@pytest.mark.slow
def test_every_damaged_slide_ends_as_a_reason_or_as_good_features(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    sources = made_slides(tmp_path / "made")
    if "PATHDUET_TEST_DATA" in os.environ:
        data = Path(os.environ["PATHDUET_TEST_DATA"])
        sources += [data / part for part in REAL[:3] if (data / part).is_file()]
    variants = len(sources) * len(MUTATIONS)
    outcome = fuzz(sources, tmp_path / "fuzz", variants, 0, EncoderSettings(name="random", device="cpu"))
    assert not outcome.problems
    assert (
        sum(outcome.reasons.values()) == variants and outcome.reasons["ok"] and outcome.reasons["unreadable"]
    )


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is given in other units")
def test_a_slide_of_ten_gigapixels_takes_less_than_one_and_a_half_gigabytes(tmp_path: Path) -> None:
    slide = write_huge(tmp_path / "huge.tif")
    command = [sys.executable, str(HERE / "huge_slide.py"), str(slide), str(tmp_path / "r"), "32", "random"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["status"] == ["ok"] * 3, found["message"]
    assert found["tiles"] > 150_000 and found["encoded"] == 32
    assert found["peak_mib"] < 1430  # 1.5 GB
