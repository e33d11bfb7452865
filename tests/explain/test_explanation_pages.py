"""What the job leaves: a figure or a reason for every file named, and a page that runs nothing it was given."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from explain.fake_folds import GRADING, KI67, RECEPTOR, SURVIVAL
from pathduet.catalogue import CATALOGUE
from pathduet.cohort.tasks import Task
from pathduet.explain.colours import subspace_colours
from pathduet.explain.files import FIGURES, TABLES, explanations_of, files_of
from pathduet.report.explanation_figures import About, calibration, dynamic_auc
from pathduet.report.explanation_pages import draw_explanations, gene_page

NASTY = '</script><script>alert("x")</script>'


def write_summary(folder: Path, entries: list[dict[str, Any]]) -> None:
    summary = {"task": SURVIVAL.to_plain(), "subspaces": ["tumor", "tme"], "explanations": entries}
    (folder / "summary.json").write_text(json.dumps(summary))


def correlations() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = ["PTTG1", NASTY, "NA", *(f"G{i}" for i in range(9))]
    return pd.DataFrame(
        {
            "model": "teacher", "score": "risk", "rank": range(1, 13), "gene": names, "subspace": ["tumor", "tme"] * 6,
            "selected": 2, "r": [np.nan, *np.sort(rng.uniform(-1, 1, 11))[::-1]], "p": 0.01, "q": 0.02, "n_patients": 30,
            "pointed_out": [True] + [False] * 11,
        }
    )  # fmt: skip


def test_the_page_holds_names_as_data_only() -> None:
    entry = {"score_name": "risk", "message": NASTY, "reasons": [NASTY]}
    html = gene_page(correlations(), About(replace(SURVIVAL, title=NASTY), ("tumor", "tme")), entry)
    assert 'alert("x")</script>' not in html
    assert html.count("<script") == 2  # the data and our own
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    genes = {gene["g"]: gene for gene in json.loads(data[1])["genes"]}
    assert NASTY in genes and genes["PTTG1"]["m"] == {} and genes["PTTG1"]["p"] is True
    assert not re.search(r"(?:src|href)=", html)  # nothing is fetched


def test_every_explanation_without_numbers_still_leaves_its_figures_with_the_reason(tmp_path: Path) -> None:
    headers = {"top_tiles.tsv": ["group", "subspace"], "gene_attention_sets.tsv": ["set", "subspace"], "embedding_scores.tsv": ["model", "value"],
               "region_agreement.tsv": ["measure", "value"], "gene_correlation.tsv": list(correlations())}  # fmt: skip
    entries = []
    for name in explanations_of(SURVIVAL, True, True):
        for table in TABLES[name]:
            (tmp_path / table).write_text("\t".join(headers.get(table, ["part", "model", "group"])) + "\n")
        entries.append({"name": name, "files": [*TABLES[name], *FIGURES[name]], "message": "none", "score_name": "risk",
                        "reasons": [f"{name}: three patients <only>"]})  # fmt: skip
    write_summary(tmp_path, entries)
    draw_explanations(tmp_path, CATALOGUE)
    for name in files_of(SURVIVAL, True, True):
        assert (tmp_path / name).is_file(), name
        if name.endswith(".svg"):
            assert "three patients &lt;only&gt;" in (tmp_path / name).read_text(), name


def test_the_gene_named_na_stays_a_gene_and_pointed_out_ones_are_labelled(tmp_path: Path) -> None:
    table = correlations().assign(r=lambda t: t["r"].fillna(0.9))
    table.to_csv(tmp_path / "gene_correlation.tsv", sep="\t", index=False)
    entry = {
        "files": ["gene_correlation.svg", "gene_correlation.html"],
        "message": "m",
        "score_name": "risk",
        "reasons": [],
    }
    write_summary(tmp_path, [entry])
    draw_explanations(tmp_path, CATALOGUE)
    first = (tmp_path / "gene_correlation.svg").read_bytes()
    assert b"PTTG1 0.90" in first
    assert '"g":"NA"' in (tmp_path / "gene_correlation.html").read_text()
    draw_explanations(tmp_path, CATALOGUE)
    assert (tmp_path / "gene_correlation.svg").read_bytes() == first


def test_every_group_of_genes_has_its_colour_on_the_page() -> None:
    table = correlations().assign(subspace=["tumor", "immune", "stroma", "shared"] * 3)
    about = About(SURVIVAL, ("tumor", "immune", "stroma"))
    html = gene_page(table, about, {"score_name": "risk", "message": "m", "reasons": []})
    colours = subspace_colours(about.subspaces)
    for place, name in enumerate(about.subspaces):
        assert f".s{place} {{ fill: {colours[name]};" in html
        assert f'<span class="key s{place}"></span>{name}' in html
    assert '<span class="key s3"></span>several lists' in html


def test_times_are_shown_in_the_tasks_unit() -> None:
    rows = [
        ("test", "student", day, group, 9, 0.5, 0.5, 0.1, 0.9) for day in (365, 730.5) for group in (1, 2)
    ]
    columns = ["part", "model", "day", "group", "n", "predicted", "observed", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)

    def titles(unit: str) -> list[str]:
        figure = calibration(table, About(replace(SURVIVAL, unit=unit), ("tumor",)))
        return [axis.get_title(loc="left") for axis in figure.axes]

    assert titles("months") == ["12 months, test", "24 months, test"]
    assert titles("years") == ["1 year, test", "2 years, test"]
    assert titles("days") == ["365 days, test", "730.5 days, test"]
    auc = pd.DataFrame([("test", "student", 365, 0.7, 0.1, 3, "")],
                       columns=["part", "model", "day", "auc", "sd", "folds", "reason"])  # fmt: skip
    axis = dynamic_auc(auc, About(SURVIVAL, ("tumor",))).axes[0]
    assert axis.get_xlabel() == "months" and axis.lines[0].get_xdata()[0] == pytest.approx(12, abs=0.1)


SLIDES, GENES = ["region_agreement", "top_tiles"], ["gene_correlation"]


@pytest.mark.parametrize(
    ("task", "slides", "expression", "expected"),
    [
        (GRADING, True, True, ["embedding", *GENES, *SLIDES, "gene_attention"]),
        (RECEPTOR, True, False, ["embedding", *SLIDES]),
        (KI67, False, True, ["embedding", *GENES]),
        (SURVIVAL, False, False, ["embedding", "survival"]),
        (replace(GRADING, ordered=False), True, True, ["embedding", *SLIDES, "gene_attention"]),
        (replace(GRADING, malignancy_score=False), False, True, ["embedding"]),
    ],
)
def test_a_task_has_the_explanations_that_its_kind_and_the_runs_data_allow(
    task: Task, slides: bool, expression: bool, expected: list[str]
) -> None:
    lacking = explanations_of(task, slides, expression)
    assert [name for name, reason in lacking.items() if not reason] == expected
    made = [file for name in expected for file in (*TABLES[name], *FIGURES[name])]
    assert files_of(task, slides, expression) == ["summary.json", *made]
    assert all(
        reason in ("", "the run has no slides", "the run has no expression") for reason in lacking.values()
    )
