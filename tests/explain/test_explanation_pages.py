"""What the job leaves: a figure or a reason for every file named, and a page that runs nothing it was given."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pathduet.explain.files import FIGURES, TABLES, explanations_of, files_of
from pathduet.report.explanation_pages import draw_explanations, gene_page

NASTY = '</script><script>alert("x")</script>'


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
    html = gene_page(correlations(), NASTY, entry)
    assert 'alert("x")</script>' not in html
    assert html.count("<script") == 2  # the data and our own
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    genes = {gene["g"]: gene for gene in json.loads(data[1])["genes"]}
    assert NASTY in genes and genes["PTTG1"]["m"] == {} and genes["PTTG1"]["p"] is True
    assert not re.search(r"(?:src|href)=", html)  # nothing is fetched


def test_every_explanation_without_numbers_still_leaves_its_figures_with_the_reason(tmp_path: Path) -> None:
    headers = {"gene_attention_sets.tsv": ["set", "subspace"], "embedding_scores.tsv": ["model", "value"],
               "region_agreement.tsv": ["measure", "value"], "gene_correlation.tsv": list(correlations())}  # fmt: skip
    entries = []
    for name in explanations_of("survival", ["risk"]):
        for table in TABLES[name]:
            (tmp_path / table).write_text("\t".join(headers.get(table, ["part", "model", "group"])) + "\n")
        entries.append({"name": name, "files": [*TABLES[name], *FIGURES[name]], "message": "none", "score_name": "risk",
                        "reasons": [f"{name}: three patients <only>"]})  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps({"task": "survival", "explanations": entries}))
    draw_explanations(tmp_path)
    for name in files_of("survival", ["risk"]):
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
    (tmp_path / "summary.json").write_text(json.dumps({"task": "survival", "explanations": [entry]}))
    draw_explanations(tmp_path)
    first = (tmp_path / "gene_correlation.svg").read_bytes()
    assert b"PTTG1 0.90" in first
    assert '"g":"NA"' in (tmp_path / "gene_correlation.html").read_text()
    draw_explanations(tmp_path)
    assert (tmp_path / "gene_correlation.svg").read_bytes() == first


@pytest.mark.parametrize(
    ("task", "scores", "expected"),
    [
        ("diagnosis", ["expected_grade", "risk"], ["embedding", "region_agreement", "gene_attention"]),
        ("grading", ["risk"], ["embedding", "region_agreement", "gene_attention"]),
        (
            "grading",
            ["expected_grade"],
            ["embedding", "gene_correlation", "region_agreement", "gene_attention"],
        ),
    ],
)
def test_only_tasks_with_an_order_have_a_malignancy_score(
    task: str, scores: list[str], expected: list[str]
) -> None:
    assert explanations_of(task, scores) == expected
