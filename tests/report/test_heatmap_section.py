"""Heatmaps on the report: pictures bounded, pages linked, none said plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_results import fake_config
from PIL import Image

from pathduet.report import heatmap_section
from pathduet.report.build import build_report
from pathduet.report.findings import Findings


def found_in(results: Path) -> Findings:
    return Findings(results, fake_config(results))


def draw(results: Path, slide: str, task: str = "survival") -> Path:
    folder = results / "explanations" / task / "distilled" / "fold-1" / slide
    (folder / "viewer").mkdir(parents=True)
    Image.new("RGB", (2400, 1200), "purple").save(folder / "heatmap.png")
    (folder / "viewer" / "index.html").write_text("<html></html>")
    return folder


def test_a_heatmap_is_shown_with_links_to_what_is_there(copy: tuple[Path, dict[str, Any]]) -> None:
    results, config = copy
    draw(results, "S<1")
    out = results / "report" / "report.html"
    build_report(results, {**config, "tasks": {"survival": config["tasks"]["survival"]}}, out)
    html = out.read_text()
    assert "S&lt;1: survival, " in html and "S<1" not in html
    href = "../explanations/survival/distilled/fold-1/S%3C1"
    assert f'href="{href}/viewer/index.html"' in html and f'href="{href}/heatmap.png"' in html
    assert "tiles.geojson</a>" not in html and f"{href}/tiles.geojson" not in html


def test_pictures_are_bounded_and_other_tasks_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heatmap_section, "PICTURES", 2)
    for slide in ("A", "B", "C"):
        draw(tmp_path, slide)
    draw(tmp_path, "D", "elsewhere")
    (block,) = heatmap_section.heatmaps(found_in(tmp_path)).blocks
    assert [m["title"].partition(":")[0] for m in block["maps"]] == ["A", "B"]
    assert "2 of 3" in block["note"] and all(len(m["uri"]) < 100_000 for m in block["maps"])


def test_a_broken_picture_is_a_hole_and_none_at_all_a_sentence(tmp_path: Path) -> None:
    (block,) = heatmap_section.heatmaps(found_in(tmp_path)).blocks
    assert block["kind"] == "text" and "pathduet heatmap" in block["text"]
    (draw(tmp_path, "A") / "heatmap.png").write_bytes(b"no picture")
    draw(tmp_path, "B")
    section = heatmap_section.heatmaps(found_in(tmp_path))
    assert section.gaps == 1 and "A/heatmap.png" in section.blocks[0]["reason"]
    assert len(section.blocks[-1]["maps"]) == 1
