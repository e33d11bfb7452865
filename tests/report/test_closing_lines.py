"""What a run says at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.report.summary import closing_lines, headline


def test_the_last_lines_name_report_numbers_and_lost_slides(
    fabricated: tuple[Path, dict[str, Any]], report: Path
):
    folder, _ = fabricated
    lines, lost = closing_lines(folder, True)
    assert lost == 3
    assert (
        lines[0]
        == "Slides: 124 of 128 slides used; not used: 1 excluded, 1 no_mpp, 1 no_tissue, 1 unreadable"
    )
    assert f"Report: {report}" in lines
    survival = pd.read_csv(folder / "tables" / "survival.tsv", sep="\t")
    survival = survival[survival["metric"] == "c_index"].set_index("model")
    teacher = next(line for line in lines[lines.index("Survival, C-index") :] if "Teacher" in line)
    assert f"{survival.loc['teacher', 'mean']:.3f} ± {survival.loc['teacher', 'sd']:.3f}" in teacher


def test_missing_pieces_are_named(tmp_path: Path):
    assert headline(tmp_path) == [
        "Slides: no ledger was written",
        "Tables: none was written",
        "Report: not written",
    ]


def test_an_unfinished_run_points_to_the_logs(copy: tuple[Path, dict[str, Any]]):
    lines, lost = closing_lines(copy[0], False)
    assert lost == 3 and "did not finish" in lines[-1] and not any("C-index" in line for line in lines)


def test_a_hole_stands_beside_the_number_it_is_missing_from(copy: tuple[Path, dict[str, Any]]):
    folder, _ = copy
    path = folder / "tables" / "survival.tsv"
    table = pd.read_csv(path, sep="\t")
    table["holes"] = table["holes"].astype(object)
    table.loc[0, ["n_folds", "holes"]] = [2, "fold 1: the training left no weights"]
    table.to_csv(path, sep="\t", index=False)
    text = "\n".join(headline(folder))
    assert "(2 of 3 folds)" in text and "(fold 1: the training left no weights)" in text
