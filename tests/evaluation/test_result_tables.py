"""Tables over folds: arithmetic by hand, holes, and no mixing of variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pathduet.catalogue import CATALOGUE
from pathduet.cohort.tasks import Task
from pathduet.evaluation.collect import Collected, collect
from pathduet.evaluation.model_summary import summarise_model
from pathduet.evaluation.table_files import write_table
from pathduet.evaluation.table_sections import Words, markdown, table_sections
from pathduet.evaluation.tables import result_table
from pathduet.results import Results

SURVIVAL = Task.of("survival", {"kind": "survival", "time": "days", "event": "event"})
WORDS = Words({"survival": SURVIVAL}, CATALOGUE)


def metrics(model: str, fold: int | str, c_index: float | None, **changes: Any) -> dict[str, Any]:
    values = {"c_index": c_index, "n_comparable": 40}
    notes = {} if c_index is not None else {"patient.c_index": "no comparable pair among 3 cases"}
    return {
        "task": "survival", "model": model, "fold": fold, "protocol": "strict", "variant": "paper", "unit": "patient",
        "patient": values, "slide": values, "n_labelled": {"patient": 10, "slide": 14}, "notes": notes,
        "bootstrap": {"interval": {"c_index": [0.4, 0.9]}}, **changes,
    }  # fmt: skip


def table_of(
    found: list[dict[str, Any]], models: tuple[str, ...] = ("teacher",), n_folds: int = 3, *,
    external: bool = False, failures: dict[tuple[str, int], str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    by_fold = {(one["model"], one["fold"]): one for one in found}
    collected = Collected(SURVIVAL, list(models), n_folds, external, metrics=by_fold, failures=failures or {})
    nowhere = Results(Path("nowhere"))
    summaries = {name: summarise_model(nowhere, SURVIVAL, name, (), CATALOGUE) for name in models}
    return result_table(collected, summaries)


def test_mean_and_population_sd_by_hand():
    table = table_of([metrics("teacher", f, c) for f, c in enumerate((0.6, 0.7, 0.8))])
    row = table.iloc[0]
    assert row["mean"] == pytest.approx(0.7)
    assert row["sd"] == pytest.approx((0.02 / 3) ** 0.5)
    assert [row["fold_0"], row["fold_1"], row["fold_2"]] == [0.6, 0.7, 0.8]
    assert (row["n_patients"], row["n_slides"], row["n_folds"], row["holes"]) == (30, 42, 3, "")


def test_a_missing_fold_is_a_hole_with_its_reason_and_the_mean_says_how_many_folds():
    found = [metrics("teacher", 0, 0.6), metrics("teacher", 2, None)]
    table = table_of(
        found, ("teacher", "student"), failures={("teacher", 1): "the training left no weights", ("student", 0): "not run"},
    )  # fmt: skip
    teacher, student = (table[table["model"] == m].iloc[0] for m in ("teacher", "student"))
    assert (teacher["mean"], teacher["n_folds"], teacher["folds_expected"]) == (0.6, 1, 3)
    assert (
        teacher["holes"] == "fold 1: the training left no weights; fold 2: no comparable pair among 3 cases"
    )
    assert pd.isna(student["mean"]) and student["holes"].startswith("fold 0: not run; fold 1: no result")
    text = markdown("Survival", table_sections(table, WORDS))
    assert "0.600 ± 0.000 (1 of 3 folds)" in text
    assert "the training left no weights" in text and "| Student (slides only) | – |" in text


def test_variants_never_share_a_row():
    found = [metrics("teacher", 0, 0.6), metrics("teacher", 1, 0.9, variant="released")]
    table = table_of(found)
    assert sorted(zip(table["variant"], table["mean"])) == [("paper", 0.6), ("released", 0.9)]


def test_the_external_table_counts_patients_once_and_shows_the_ensemble():
    found = [metrics("teacher", f, c) for f, c in enumerate((0.6, 0.8))] + [
        metrics("teacher", "ensemble", 0.75)
    ]
    row = table_of(found, n_folds=2, external=True).iloc[0]
    assert (row["mean"], row["n_patients"], row["ensemble"]) == (pytest.approx(0.7), 10, 0.75)
    assert (row["ensemble_ci_low"], row["ensemble_ci_high"]) == (0.4, 0.9)
    missing = table_of(found[:2], n_folds=2, external=True).iloc[0]
    assert pd.isna(missing["ensemble"]) and "ensemble: no result" in missing["holes"]


def test_a_written_table_can_be_read_back_and_cells_cannot_break_the_markdown(tmp_path):
    results = Results(tmp_path)
    table = table_of([metrics("teacher", 0, 0.6)], n_folds=2, failures={("teacher", 1): "a | b\nc"})
    write_table(table, results, "t", "Survival", WORDS)
    read = pd.read_csv(results.table("t"), sep="\t")
    assert read.loc[0, "mean"] == 0.6 and read.loc[0, "n_folds"] == 1
    rows = [line for line in results.table("t", ".md").read_text().splitlines() if line.startswith("|")]
    starts = [i for i, line in enumerate(rows) if line.startswith("| ---")]
    blocks = [rows[a - 1 : b - 1] for a, b in zip(starts, [*starts[1:], len(rows) + 1])]
    assert len(blocks) == 3  # summary, folds, holes
    assert [cell.strip() for cell in blocks[0][0].split("|")[-3:-1]] == ["Protocol", "Variant"]
    assert [cell.strip() for cell in blocks[0][2].split("|")[-3:-1]] == ["strict", "paper"]
    for block in blocks:
        assert len({line.replace("\\|", "").count("|") for line in block}) == 1


def test_what_is_not_there_and_what_failed_has_its_reason(tmp_path):
    results = Results(tmp_path)
    for fold in (0, 1, 3):
        results.model("survival", "teacher", fold).mkdir(parents=True)
    (results.model("survival", "teacher", 1) / "predictions.tsv").write_bytes(b'a\tb\n"')
    (results.model("survival", "teacher", 3) / "model.json").write_text('{"failed": "ValueError: too wide"}')
    reasons = collect(results, SURVIVAL, ["teacher"], 4).failures
    assert "no predictions" in reasons[("teacher", 0)]
    assert "cannot be read: ParserError" in reasons[("teacher", 1)]
    assert "not run" in reasons[("teacher", 2)]
    assert reasons[("teacher", 3)] == "ValueError: too wide"
