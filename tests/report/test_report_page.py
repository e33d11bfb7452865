"""The page: complete, self-contained, deterministic, escaped, and whole even where results are not."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_results import NETWORKS, evaluate

from pathduet.catalogue import catalogue_of
from pathduet.core.files import write_json, write_tsv
from pathduet.report.blocks import Drawer, artifacts
from pathduet.report.build import build_report
from pathduet.report.explanation_pages import draw_explanations
from pathduet.report.findings import Findings
from pathduet.report.model_sections import _counts
from pathduet.results import Results

# whole pages, cohorts and pictures: seconds each
pytestmark = pytest.mark.slow

#: On the whole run's page.
FIGURES = 49
VOID = {"meta", "link", "img", "input", "br", "use", "hr"}


class Page(HTMLParser):
    """Collects tags with attributes and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.scripts.append(data)
        elif "style" not in self._open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def only(task: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration's tasks without the others."""
    return {task: dict(config["tasks"][task])}


def gaps_on(html: str) -> list[str]:
    """Return the texts of the page's gaps."""
    found = re.findall(r'<div class="gap[^"]*"[^>]*>(.*?)</div>', html, re.DOTALL)
    return [re.sub(r"<[^>]+>", "", text) for text in found]


def test_a_complete_run_has_every_section_and_no_gap(report: Path):
    html = report.read_text()
    page = Page(html)
    assert gaps_on(html) == []
    sections = [a["id"] for a in page.all("section")]
    assert sections == [
        "headline", "flow", "data", "diagnosis", "grading", "survival", "external_diagnosis", "external_grading", "external_survival",
        "explanations", "heatmaps", "gallery", "stain", "genes", "training", "ledger", "times", "run", "meaning",
    ]  # fmt: skip
    parts = [head["id"] for head in page.all("h3") if head.get("class") == "part"]
    assert parts == [f"explanations-{task}" for task in ("diagnosis", "grading", "survival")]
    links = [a["href"] for a in page.all("a") if a["href"].startswith("#") and a["href"] != "#main"]
    navigation = links[: len(sections) + len(parts)]
    assert [link for link in navigation if link[1:] not in parts] == [f"#{s}" for s in sections]
    assert [link[1:] for link in navigation if link[1:] in parts] == parts
    assert {link[1:] for link in links} == {*sections, *parts}  # the headline's cards lead on, too
    # labels, spread x6, roc x4, confusion x4, reliability x4, Kaplan-Meier x4, stain, genes, training x3, tiles, times;
    # explanations x16
    assert len(page.all("figure")) == FIGURES
    assert "124 of 128" in page.text and "1 excluded by the sheet" in page.text


def test_every_number_of_the_tables_is_on_the_page(report: Path):
    text = Page(report.read_text()).text
    for name in ("diagnosis", "grading", "survival", "external_grading", "external_survival"):
        table = pd.read_csv(report.parents[1] / "tables" / f"{name}.tsv", sep="\t")
        # a Cox model predicts no survival curve, so it has no Brier score
        for row in table[table["mean"].notna()].to_dict("records"):
            assert f"{row['mean']:.3f} ± {row['sd']:.3f}" in text
            assert f"[{row['ci_low']:.3f}, {row['ci_high']:.3f}]" in text
            assert all(f"{row[f'fold_{k}']:.3f}" in text for k in range(3))


def test_nothing_on_the_page_points_outside(report: Path):
    html = report.read_text()
    page = Page(html)
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            value = attributes.get(name)
            if tag == "a" and value and not value.startswith("#"):  # to an artifact that is there
                target = (report.parent / value).resolve()
                assert target.exists() and report.parent.parent.resolve() in target.parents, value
                continue
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert not re.search(r"@import|url\((?!#)", html)
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and "default-src 'none'" in policy


def test_only_the_pages_own_script_may_run(report: Path):
    page = Page(report.read_text())
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv")]
    assert policy is not None and f"script-src 'sha256-{digest}'" in policy
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_ids_on_the_page_are_unique(report: Path):
    ids = [a["id"] for _, a in Page(report.read_text()).tags if a.get("id")]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_the_same_artifacts_give_the_same_bytes(fabricated: tuple[Path, dict[str, Any]], report: Path):
    folder, config = fabricated
    again = folder / "report-again" / "report.html"
    build_report(folder, config, again)
    try:
        assert again.read_bytes() == report.read_bytes()
        first = {p.name: p.read_bytes() for p in (report.parent / "figures").glob("*.svg")}
        assert {p.name: p.read_bytes() for p in (again.parent / "figures").glob("*.svg")} == first
        assert len(first) == FIGURES
    finally:
        shutil.rmtree(again.parent)


def test_a_number_leads_to_its_artifact_and_the_command_that_makes_it_again(report: Path):
    html = report.read_text()
    for path in (
        "../models/survival/teacher/fold-0/predictions.tsv",
        "../tables/survival.tsv",
        "../ledger.tsv",
    ):
        assert f'href="{path}"' in html, path
    assert re.search(r"<code>snakemake --cores 1 --force \S+/tables/survival\.tsv</code>", html)
    assert re.search(
        r"--force \S+/models/survival/\{[a-z_,]*teacher[a-z_,]*\}/fold-\{0,1,2\}/predictions\.tsv", html
    )


def test_every_card_of_the_headline_leads_to_its_artifact(report: Path):
    headline = re.search(r'<section id="headline">.*?</section>', report.read_text(), re.DOTALL)
    assert headline
    cards = headline[0].split('<div class="card">')[1:]
    assert len(cards) == 10 and all('href="../' in card for card in cards)


@pytest.mark.slow
def test_commands_name_the_configuration_that_the_run_was_started_with(
    fabricated: tuple[Path, dict[str, Any]], tmp_path: Path
):
    folder, config = fabricated
    build_report(folder, config, tmp_path / "report.html", configfiles=["my cohort.yaml"])
    html = (tmp_path / "report.html").read_text()
    assert "<code>snakemake --cores 1 --configfile &#39;my cohort.yaml&#39; --force" in html
    assert "<code>snakemake --cores 1 --force" not in html


def test_results_of_models_that_no_list_names_are_expected_too(copy: tuple[Path, dict[str, Any]]):
    folder, config = copy
    file = folder / "metrics" / "survival.json"
    known = json.loads(file.read_text())
    more = {
        f"more {key}": one | {"model": "pooled_features"}
        for key, one in known.items()
        if one["model"] == "student"
    }

    def counts() -> list[int]:
        cards = {card["title"]: card["value"] for card in _counts(Findings(folder, config))}
        return [int(number) for number in cards["Results of models and folds"].split(" of ")]

    before = counts()
    write_json(file, known | more)
    assert counts() == [number + len(more) for number in before] and more


def test_the_headline_has_every_gain_over_the_clinical_baseline(report: Path):
    table = re.search(r'<table class="sortable" id="table-gains">.*?</table>', report.read_text(), re.DOTALL)
    assert table
    text = Page(table[0]).text
    for name in ("survival", "external_survival", "grading"):
        rows = pd.read_csv(report.parents[1] / "tables" / f"{name}.tsv", sep="\t")
        gains = rows[rows["metric"].isin(["auc", "c_index"])].set_index("model")["gain"]
        assert all(f"{gains[model]:+.3f}" in text for model in NETWORKS), name
    assert "Cox: age + sex" in text and "Logistic: age + sex" in text


def test_only_files_that_are_there_are_linked(tmp_path: Path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/a.tsv").touch()
    assert artifacts("tables/a.tsv (also .md), models/<model>/b.tsv; benchmarks/", tmp_path) == [
        ("tables/a.tsv", "tables/a.tsv", "tables/a.tsv"),
        (" (also .md), models/<model>/b.tsv; benchmarks/", "", ""),
    ]


def test_many_files_lead_to_their_folder_and_one_command_in_braces(tmp_path: Path):
    for place in ("m/teacher/fold-0", "m/teacher/fold-1", "m/abmil/fold-0", "m/abmil/fold-1"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "b.tsv").touch()
    source = "m/<model>/fold-*/b.tsv and m/"
    assert artifacts(source, tmp_path) == [
        ("m/<model>/fold-*/b.tsv", "m/", "m/{abmil,teacher}/fold-{0,1}/b.tsv"),
        (" and ", "", ""),
        ("m/", "m/", ""),
    ]
    (tmp_path / "m/abmil/fold-1/b.tsv").unlink()  # braces would name a file that nobody makes
    assert artifacts("m/<model>/fold-*/b.tsv", tmp_path) == [("m/<model>/fold-*/b.tsv", "m/", "")]


HOSTILE = "<script>alert('x')</script><img src=http://example.org/x onerror=alert(1)>\"'&{{ 7*7 }}"


@pytest.mark.slow
def test_what_users_and_files_say_is_text_not_markup(copy: tuple[Path, dict[str, Any]]):
    folder, config = copy
    ledger = pd.read_csv(folder / "ledger.tsv", sep="\t", dtype=str, keep_default_na=False)
    # an id that could be markup is refused by who reads the ledger
    for column in ("patient_id", "cohort", "message", "notes", "mpp_source"):
        ledger.loc[4, column] = HOSTILE + column
    write_tsv(folder / "ledger.tsv", ledger)
    people = pd.read_csv(folder / "participation.tsv", sep="\t", dtype=str)
    people.loc[0, "cohort"] = HOSTILE
    write_tsv(folder / "participation.tsv", people)
    (folder / "provenance.json").write_text(
        '{"versions": {"a": "<script>1</script>"}, "<b>k</b>": "<i>v</i>"}'
    )
    hostile = {**config, "report": {"title": HOSTILE, "gallery_slides": 8}, "tasks": only("grading", config)}
    hostile["cohorts"] = {"internal": [HOSTILE], "external": ["gamma"]}
    hostile["tasks"]["grading"] |= {"title": HOSTILE + "task", "class_titles": {"G2": HOSTILE + "class"}}
    build_report(folder, hostile, folder / "r.html", notice=HOSTILE)
    html = (folder / "r.html").read_text()
    page = Page(html)
    assert len(page.all("script")) == 1
    assert all((a["src"] or "").startswith("data:image/jpeg;base64,") for a in page.all("img"))
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for column in ("message", "cohort", "task", "class"):
        assert HOSTILE + column in page.text
    assert "<script>1" not in html and "<i>v" not in html


def test_text_in_figures_is_escaped_and_is_no_mathematics(tmp_path: Path):
    from pathduet.report import figures

    stains = pd.DataFrame(
        {"slide_id": ["s", "t"], "cohort": ["<script>x</script>", "$a$"], "stain": ["haematoxylin", "eosin"],
         "r": [0.6, 0.1], "g": [0.7, 0.9], "b": [0.3, 0.2]}
    )  # fmt: skip
    block = Drawer(tmp_path).draw(
        "stains", figures.stain_vectors, {"stains": stains}, message="<b>m</b>", caption="", source=""
    )
    assert block["kind"] == "figure"
    assert "<script" not in block["svg"] and "&lt;script&gt;" in block["svg"] and "$a$" in block["svg"]
    assert 'aria-label="&lt;b&gt;m' in block["svg"]


@pytest.mark.slow
def test_failed_models_missing_files_and_broken_files_are_gaps_with_reasons(
    copy: tuple[Path, dict[str, Any]],
):
    folder, config = copy
    shutil.rmtree(folder / "models" / "survival" / "teacher" / "fold-1")
    shutil.rmtree(folder / "models" / "grading" / "student")
    (folder / "models" / "diagnosis" / "teacher" / "fold-0" / "predictions.tsv").write_text('"')
    evaluate(Results(folder), config, NETWORKS, ["survival", "grading", "diagnosis"])
    (folder / "genes" / "fold-2.h5ad").write_bytes(b"not HDF5")
    (folder / "slides" / "P000-S1" / "mask.png").write_bytes(b"not a picture")
    (folder / "slides" / "P000-S1" / "thumbnail.png").unlink()
    (folder / "tables" / "external_survival.tsv").unlink()
    config = {**config, "sheets": {**config["sheets"], "patients": str(folder / "moved" / "patients.tsv")}}
    (folder / "provenance.json").unlink()
    (folder / "participation.tsv").unlink()
    shutil.rmtree(folder / "benchmarks")
    build_report(folder, config, folder / "r.html")
    html = (folder / "r.html").read_text()
    gaps = "\n".join(gaps_on(html))
    for words in (
        "Teacher (slides + expression): no result in fold 1.", "Student (slides only): no result in folds 0, 1, 2.",
        "genes/fold-2.h5ad: cannot be read", "Teacher (slides + expression): no result in fold 0. Cannot be read: ParserError", "mask.png: UnidentifiedImageError",
        "thumbnail.png is not there", "tables/external_survival.tsv: not there", "provenance.json: not there", "patients.tsv: not there",
        "participation.tsv: not there", "There are no files in benchmarks/",
        "No training curve of survival, Teacher, fold 1.",
    ):  # fmt: skip
        assert words in gaps, words
    assert "(2 of 3 folds)" in html
    # What is there is still shown.
    assert 'id="figure-roc-grading"' in html and 'id="figure-kaplan-meier-survival-median"' in html


@pytest.mark.slow
def test_an_empty_results_folder_still_gives_a_page(tmp_path: Path, fabricated: tuple[Path, dict[str, Any]]):
    (tmp_path / "results").mkdir()
    build_report(tmp_path / "results", fabricated[1], tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    assert len(gaps_on(html)) > 15 and 'id="meaning"' in html
    # what the sheet says is known without any result
    assert [figure["id"] for figure in Page(html).all("figure")] == ["figure-labels"]


def test_tasks_that_are_not_configured_have_no_section(
    tmp_path: Path, fabricated: tuple[Path, dict[str, Any]]
):
    (tmp_path / "results").mkdir()
    build_report(
        tmp_path / "results", {**fabricated[1], "tasks": only("grading", fabricated[1])}, tmp_path / "r.html"
    )
    sections = [a["id"] for a in Page((tmp_path / "r.html").read_text()).all("section")]
    assert {"grading", "external_grading"} <= set(sections) and not {
        "diagnosis",
        "survival",
        "external_survival",
    } & set(sections)


def test_many_slides_are_cut_with_a_stated_count(copy: tuple[Path, dict[str, Any]]):
    from pathduet.report import slide_sections
    from pathduet.report.findings import Findings

    folder, config = copy
    found = Findings(folder, config)
    rows = pd.read_csv(folder / "ledger.tsv", sep="\t", dtype=str, keep_default_na=False)
    rows = pd.concat([rows] * 10, ignore_index=True)
    rows["slide_id"] = [f"s{i}" for i in range(len(rows))]
    rows["n_10x"] = rows["n_20x"] = pd.Series(50, index=rows.index, dtype="Int64")
    found.ledger = rows
    lost, used = int((rows["status"] != "ok").sum()), int((rows["status"] == "ok").sum())
    table = slide_sections.ledger(found, Drawer(folder / "figures")).blocks[0]
    assert len(table["rows"]) == lost + slide_sections.LEDGER_ROWS
    assert (
        f"all slides that were not used ({lost:,}) and the first {slide_sections.LEDGER_ROWS} of {used:,}"
        in table["note"]
    )
    gallery = slide_sections.gallery(found).blocks[0]
    failed = int((rows["status"] == "failed").sum())
    assert len(gallery["slides"]) == 8 + failed and f"8 of {used:,} used slides" in gallery["note"]


def test_pictures_are_small_whatever_they_were(tmp_path: Path):
    import io

    import numpy as np
    from PIL import Image

    from pathduet.report.pictures import EDGE_PX, data_uri

    noise = np.random.default_rng(0).integers(0, 255, (1500, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "big.png")
    uri = data_uri(tmp_path / "big.png")
    picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert picture.size == (round(EDGE_PX * 900 / 1500), EDGE_PX) and len(uri) < 120_000


def test_a_simulated_cohort_is_announced(tmp_path: Path, fabricated: tuple[Path, dict[str, Any]]):
    (tmp_path / "simulation.json").write_text("{}")
    config = {
        **fabricated[1],
        "sheets": {"slides": str(tmp_path / "slides.tsv"), "patients": None},
        "tasks": only("grading", fabricated[1]),
    }
    (tmp_path / "results").mkdir()
    build_report(tmp_path / "results", config, tmp_path / "r.html")
    assert "Simulated cohort" in (tmp_path / "r.html").read_text()


def test_figures_of_an_earlier_run_do_not_stay(tmp_path: Path, fabricated: tuple[Path, dict[str, Any]]):
    (tmp_path / "results").mkdir()
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "old.svg").write_text("<svg/>")
    build_report(
        tmp_path / "results", {**fabricated[1], "tasks": only("grading", fabricated[1])}, tmp_path / "r.html"
    )
    assert not (tmp_path / "figures" / "old.svg").exists()


@pytest.mark.slow
def test_regions_that_nobody_asked_for_are_no_gap(copy: tuple[Path, dict[str, Any]]):
    folder, config = copy
    table = folder / "explanations" / "grading" / "region_agreement.tsv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    draw_explanations(table.parent, catalogue_of(config))
    config = {**config, "tasks": only("grading", config)}
    for path, gaps in ((None, 0), ("regions/{slide_id}.png", 1)):
        explained = {**config["explanations"], "regions": {"annotations": path}}
        build_report(folder, {**config, "explanations": explained}, folder / "r.html")
        html = (folder / "r.html").read_text()
        assert len([gap for gap in gaps_on(html) if "prototypes and regions" in gap]) == gaps
        assert "Grading: prototypes and regions" in html
