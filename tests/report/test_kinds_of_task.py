"""The page of runs of every kind of task, and of runs without slides or without expression."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_report_page import Page, gaps_on

from pathduet.cohort.tasks import Task
from pathduet.report import figures, prediction_figures

# whole pages, cohorts and pictures: seconds each
pytestmark = pytest.mark.slow

Report = tuple[Path, dict[str, Any]]


def test_every_kind_of_task_has_its_figures_and_nothing_is_missing(breast: Report):
    html = breast[0].read_text()
    page = Page(html)
    assert gaps_on(html) == []
    figures_of = {
        "receptor": ("roc", "confusion", "reliability"), "stage": ("roc", "confusion", "reliability"),
        "ki67": ("predicted", "residuals"),
    }  # fmt: skip
    shown = {a["id"] for a in page.all("figure")}
    figures_of |= {f"external_{task}": figures_of[task] for task in ("receptor", "ki67")}
    figures_of |= dict.fromkeys(("os", "pfi", "external_os"), ("kaplan-meier",))
    for table, names in figures_of.items():
        cut = "-median" if names == ("kaplan-meier",) else ""
        assert {f"figure-{name}-{table}{cut}" for name in names} | {f"figure-spread-{table}"} <= shown
    sections = {a["id"] for a in page.all("section")}
    assert "external_os" in sections and not {"external_stage", "external_pfi"} & sections


def test_survival_endpoints_stand_beside_each_other(breast: Report):
    page, _ = breast
    section = re.search(r'<section id="endpoints">.*?</section>', page.read_text(), re.DOTALL)
    assert section
    text = Page(section[0]).text
    for name in ("os", "pfi"):
        rows = pd.read_csv(page.parents[1] / "tables" / f"{name}.tsv", sep="\t")
        for value in rows[rows["metric"] == "c_index"]["mean"]:
            assert f"{value:.3f} ±" in text


def test_times_are_shown_in_the_unit_of_the_endpoint(breast: Report):
    figures_folder = breast[0].parent / "figures"
    for task, unit in (("os", "months"), ("pfi", "days")):
        drawn = (figures_folder / f"kaplan-meier-{task}-median.svg").read_text()
        assert f"{unit}; coloured" in drawn and "years; " not in drawn


def test_the_page_says_which_columns_were_read_and_which_were_not(breast: Report):
    html = breast[0].read_text()
    (section,) = re.findall(r'<section id="data">.*?</section>', html, re.DOTALL)
    page = Page(section)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", section)
    assert {"her2", "stage", "ki67_percent", "os_months, os_status", "pfi_days, pfi_censorship"} <= set(cells)
    assert (
        "age_years" in cells
        and "Columns of the sheet that are not used: grade, sex, survival_days, event, diagnosis."
        in page.text
    )
    assert "binary" in cells and "ordered, 4 classes" in cells and "months missing" in page.text
    labels = pd.read_csv(breast[1]["sheets"]["patients"], sep="\t")
    inside = labels[labels["cohort"] != "gamma"]["her2"].value_counts()
    assert f"negative: {inside['negative']}; positive: {inside['positive']}" in cells


def test_every_subspace_has_its_genes(breast: Report):
    html = breast[0].read_text()
    (table,) = re.findall(r'<table class="sortable" id="table-genes">.*?</table>', html, re.DOTALL)
    assert re.findall(r"<tr><td>(.*?)</td>", table.replace("\n", "").replace("    ", "")) == [
        "tumor",
        "immune",
        "stroma",
        "shared",
    ]
    assert "for the subspaces tumor, immune, stroma." in html


def test_a_run_without_expression_says_so_once_and_has_no_gap(slides_only: Report):
    html = slides_only[0].read_text()
    assert gaps_on(html) == []
    text = Page(html).text
    assert "Left out: Teacher, Distilled student (no expression)." in text
    assert "No genes: the configuration names no expression tables" in text
    assert "external" not in {a["id"] for a in Page(html).all("section")}


def test_a_run_without_slides_says_so_once_and_has_no_gap(expression_only: Report):
    html = expression_only[0].read_text()
    assert gaps_on(html) == []
    page = Page(html)
    sections = [a["id"] for a in page.all("section")]
    assert "slides" in sections and not {"gallery", "stain", "ledger", "heatmaps"} & set(sections)
    assert (
        "Left out: Teacher, Student, Student trained as long as the distilled, Distilled student (no slides)."
        in page.text
    )
    assert "72 patients in the sheet" in re.sub(
        r"\s+", " ", page.text
    ) and "69 patients with expression" in re.sub(r"\s+", " ", page.text)
    assert not re.search(r"<th[^>]*>(<button>)?Slides", html)


def test_no_word_of_a_disease_stands_on_a_page_of_another(expression_only: Report, slides_only: Report):
    for page in (expression_only[0], slides_only[0]):
        text = Page(page.read_text()).text.lower()
        assert not re.search(r"gliom|gliobl|astrocyt|oligodend|idh|cdkn2a|ivygap", text)


def test_published_numbers_stand_beside_ours_only_where_the_table_has_them(
    slides_only: Report, tmp_path: Path
):
    from pathduet.report.blocks import Drawer
    from pathduet.report.findings import Findings
    from pathduet.report.model_sections import task_section

    page, config = slides_only
    found = Findings(page.parents[1], config)
    section = task_section(found, "receptor", Drawer(tmp_path))
    assert not any(block.get("name") == "published-receptor" for block in section.blocks)
    rows = found.tables["receptor"]
    first = rows.index[0]
    rows[["published_mean", "published_sd", "published_source"]] = [float("nan"), float("nan"), ""]
    rows.loc[first, ["published_mean", "published_sd", "published_source"]] = [
        0.812,
        0.02,
        "Table I; elsewhere",
    ]
    section = task_section(found, "receptor", Drawer(tmp_path))
    (block,) = [block for block in section.blocks if block.get("name") == "published-receptor"]
    assert [cell["text"] for cell in block["rows"][0]["cells"]][3:] == ["0.812 ± 0.020", "Table I; elsewhere"]


def test_a_plot_of_two_classes_is_about_the_positive_one():
    task = Task.of("t", {"kind": "classification", "column": "c", "classes": ["no", "yes"]})
    assert prediction_figures.told_classes(task) == ("yes",)
    other = Task.of("t", {**task.to_plain(), "positive": "no"})
    assert prediction_figures.told_classes(other) == ("no",)


def test_more_classes_than_colours_are_still_told_apart():
    looks = [prediction_figures.class_style(place) for place in range(18)]
    assert len({(look["color"], str(look["ls"])) for look in looks}) == 18


@pytest.mark.parametrize(("cases", "sizes"), [(50, [10] * 5), (12, [6, 6]), (3, [3])])
def test_groups_of_like_prediction_are_equally_large_and_never_tiny(cases: int, sizes: list[int]):
    predicted = np.random.default_rng(0).random(cases)
    groups = prediction_figures.like_predictions(predicted)
    assert [len(group) for group in groups] == sizes
    assert all(predicted[a].max() <= predicted[b].min() for a, b in itertools.pairwise(groups))


def test_subspaces_keep_their_colours_and_shared_genes_are_grey():
    var = pd.DataFrame({
        "subspace": ["a", "b", "c", "shared"], "highly_variable": True, "mean": 1.0, "dispersion_norm": 1.0,
    })  # fmt: skip
    figure = figures.gene_selection(var, ["a", "b", "c"])
    colours = {
        line.get_label().split(":")[0]: line.get_color()
        for line in figure.axes[0].lines
        if ":" in str(line.get_label())
    }
    assert len(set(colours.values())) == 4 and colours["a"] == "#d55e00" and colours["b"] == "#0a7abf"
