"""What a run says at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_results import fake_config

from pathduet.report import run_sections
from pathduet.report.findings import Findings
from pathduet.report.summary import closing_lines, headline, recorded_config


@pytest.mark.slow
def test_the_last_lines_name_report_numbers_and_lost_slides(
    fabricated: tuple[Path, dict[str, Any]], report: Path
):
    folder, config = fabricated
    lines, lost = closing_lines(folder, config, True)
    assert lost == 3
    assert (
        lines[0]
        == "Slides: 124 of 128 slides used; not used: 1 excluded, 1 no_mpp, 1 no_tissue, 1 unreadable"
    )
    assert f"Report: {report}" in lines
    survival = pd.read_csv(folder / "tables" / "survival.tsv", sep="\t")
    survival = survival[survival["metric"] == "c_index"].set_index("model")
    first = next(number for number, line in enumerate(lines) if line.startswith("Survival, C-index"))
    teacher = next(line for line in lines[first:] if "Teacher" in line)
    assert f"{survival.loc['teacher', 'mean']:.3f} ± {survival.loc['teacher', 'sd']:.3f}" in teacher
    external = pd.read_csv(folder / "tables" / "external_survival.tsv", sep="\t")
    ensemble = external[external["metric"] == "c_index"].set_index("model").loc["teacher", "ensemble"]
    assert f"  {ensemble:.3f} [" in teacher and "external cohort" in lines[first]


def test_missing_pieces_are_named(tmp_path: Path):
    assert headline(tmp_path, None) == [
        "Slides: no ledger was written",
        "Tables: none was written",
        "Report: not written",
    ]


@pytest.mark.slow
def test_an_unfinished_run_points_to_the_logs(copy: tuple[Path, dict[str, Any]]):
    lines, lost = closing_lines(*copy, False)
    assert lost == 3 and "did not finish" in lines[-1] and not any("C-index" in line for line in lines)


@pytest.mark.slow
def test_a_hole_stands_beside_the_number_it_is_missing_from(copy: tuple[Path, dict[str, Any]]):
    folder, config = copy
    path = folder / "tables" / "survival.tsv"
    table = pd.read_csv(path, sep="\t")
    table["holes"] = table["holes"].astype(object)
    table.loc[0, ["n_folds", "holes"]] = [2, "fold 1: the training left no weights"]
    table.to_csv(path, sep="\t", index=False)
    text = "\n".join(headline(folder, config))
    assert "(2 of 3 folds)" in text and "(fold 1: the training left no weights)" in text


@pytest.mark.slow
def test_models_that_the_run_could_not_train_are_named_with_the_reason(
    slides_only: tuple[Path, dict[str, Any]],
):
    page, config = slides_only
    folder = page.parents[1]
    assert "Left out: Teacher, Distilled student (no expression)" in headline(folder, config)
    (folder / "left_out.tsv").rename(folder / "moved")
    assert not any(line.startswith("Left out") for line in headline(folder, config))
    (folder / "moved").rename(folder / "left_out.tsv")


@pytest.mark.slow
def test_each_task_is_told_by_the_first_metric_of_its_kind(expression_only: tuple[Path, dict[str, Any]]):
    page, config = expression_only
    lines, lost = closing_lines(page.parents[1], config, True)
    assert lost == 0 and lines[0] == "Slides: none in this run"
    assert [line.split("  ")[0] for line in lines if not line.startswith(" ")][1:3] == [
        "Ki67, R²",
        "OS, C-index",
    ]


@pytest.mark.slow
def test_a_finished_run_knows_its_configuration(fabricated: tuple[Path, dict[str, Any]], tmp_path: Path):
    folder, config = fabricated
    assert recorded_config(folder) == config and recorded_config(tmp_path) is None


def test_the_page_says_of_absolute_paths_the_file_name(tmp_path: Path):
    config = fake_config(tmp_path)
    config["sheets"] = {"slides": "/home/alice/slides.tsv", "patients": "/home/alice/patients.tsv"}
    inputs = {"/home/alice/a/e.tsv": "1", "/home/alice/b/e.tsv": "2"}
    (tmp_path / "provenance.json").write_text(json.dumps({"config": config, "seed": 1, "inputs": inputs}))
    found = Findings(tmp_path, config)
    told = str(run_sections.run(found).blocks)
    assert found.sheet == "patients.tsv" and "alice" not in told
    assert "slides: slides.tsv" in told and "e.tsv (2)" in told
