"""Designed cohorts: sheets in every form, labels that follow their programmes, shares of incomplete patients, clear errors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from typer.testing import CliRunner

from pathduet.cli import app
from pathduet.cohort.labels import known_labels, task_labels
from pathduet.cohort.sheets import read_sheets
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.config import resolve
from pathduet.core.errors import InputError
from pathduet.expression.gene_sets import read_gene_set
from pathduet.phantom.cohort import slide_plans, write_tables
from pathduet.phantom.design import Design, FileDesign, design_of, read_design
from pathduet.phantom.labels import draw_labels, sheet_columns, tasks_in

DESIGNS = ("breast", "slides_only", "expression_only")


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "examples" / "designs"


@pytest.fixture(scope="module")
def cohorts(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Each shipped design's tables (no slides) and its configuration."""
    made = {}
    for name in DESIGNS:
        out = tmp_path_factory.mktemp(name) / name
        write_tables(out, read_design(folder / f"{name}.yaml", patients=40, seed=5))
        made[name] = out, resolve(yaml.safe_load((out / "config.yaml").read_text()))
    return made


@pytest.fixture(scope="module")
def plan(folder: Path) -> dict[str, Any]:
    """A design that tests change."""
    return yaml.safe_load((folder / "breast.yaml").read_text())


@pytest.mark.parametrize("name", DESIGNS)
def test_every_shipped_design_makes_sheets_that_its_configuration_reads(
    name: str, cohorts: dict[str, tuple[Path, dict[str, Any]]]
) -> None:
    _, config = cohorts[name]
    sheets, everybody = config["sheets"], [c for group in config["cohorts"].values() for c in group]
    slides, patients = read_sheets(sheets["slides"], sheets["patients"], everybody, files_to_come=True)
    assert len(patients) == 40 + sum(patients["cohort"].str.endswith("_external"))
    assert bool(slides) == (sheets["slides"] is not None)
    for task in tasks_of(config).values():
        labels = known_labels(task_labels(patients, task))
        assert len(labels) >= 0.85 * len(patients)
        if task.kind == "classification":
            assert set(labels["label"]) == set(task.classes)
        elif task.kind == "survival":
            assert 0.5 < labels["event"].mean() < 0.8
    for column in config["covariates"]:
        assert patients[column].notna().any()
    for subspace, path in config["subspaces"].items():
        assert path == "shipped" or len(read_gene_set(path)) >= 40, subspace


def test_a_fifth_of_the_patients_has_no_expression_and_others_no_slide(
    cohorts: dict[str, tuple[Path, dict[str, Any]]],
) -> None:
    out, config = cohorts["breast"]
    patients = pd.read_csv(out / "patients.tsv", sep="\t", index_col="patient_id")
    sequenced = {
        patient
        for table in config["expression"]["tables"]
        for patient in pd.read_csv(table["path"], sep="\t", nrows=1).columns[1:]
    }
    scanned = set(pd.read_csv(out / "slides.tsv", sep="\t")["patient_id"])
    internal = patients.index[patients["cohort"] == "breast"]
    assert len(internal.difference(sequenced)) == round(0.2 * 40)
    assert len(internal.difference(scanned)) == round(0.05 * 40)
    assert sequenced | scanned == set(patients.index)


def test_units_and_event_codes_are_the_designs_own(cohorts: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    out, config = cohorts["breast"]
    _, patients = read_sheets(None, out / "patients.tsv")
    tasks = tasks_of(config)
    os, pfi = (task_labels(patients, tasks[name]) for name in ("os", "pfi"))
    np.testing.assert_allclose(os["survival_days"] / 30.4375, patients["os_months"].astype(float))
    assert ((patients["pfi_censorship"] == "0") == (pfi["event"] == 1)).all()
    assert 600 < os["survival_days"].median() < 3000
    assert list(task_labels(patients, tasks["ki67"])["reason"]).count("ki67_percent missing") == 2 + 1
    workbook, config = cohorts["expression_only"]
    _, patients = read_sheets(None, workbook / "patients.xlsx")
    dss = task_labels(patients, tasks_of(config)["dss"])
    assert set(patients["dss_status"]) == {"died", "alive"} and dss["survival_days"].min() > 0


def test_slides_can_carry_the_patients_columns(cohorts: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    out, config = cohorts["slides_only"]
    assert config["sheets"]["patients"] is None and not config["expression"]["tables"]
    assert not list(out.glob("expression*"))
    slides = pd.read_csv(out / "slides.csv", dtype=str)
    assert set(slides["relapse"].dropna()) == {"yes", "no"}
    assert not slides.drop_duplicates(["patient_id", "subtype"])["patient_id"].duplicated().any()
    assert slides["patient_id"].duplicated().any()


@pytest.mark.parametrize("name", DESIGNS)
def test_labels_follow_what_the_design_says_and_nothing_else(name: str, folder: Path) -> None:
    design = read_design(folder / f"{name}.yaml")
    table = draw_labels(design.plan, 400, "many", seed=3, prefix="X")
    for task_name, task in tasks_in(design.plan).items():
        truth = design.plan["tasks"][task_name]["truth"]
        if task_name == "subtype":
            means = table.groupby("subtype")[["z_tumor", "z_tme"]].mean()
            assert means.loc["adenocarcinoma", "z_tumor"] < -0.5 < 0.3 < means.loc["squamous", "z_tumor"]
            assert means.loc["squamous", "z_tme"] < -0.5 < 0.5 < means.loc["large_cell", "z_tme"]
            continue
        value = _as_number(table, task)
        for subspace in design.lists:
            r = stats.spearmanr(value, table[f"z_{subspace}"], nan_policy="omit").statistic
            weight = truth["follows"].get(subspace, 0.0)
            weight = -weight if task.kind == "survival" else weight
            assert np.sign(weight) * r > 0.1 if weight else abs(r) < 0.15, (task_name, subspace, r)


def _as_number(table: pd.DataFrame, task: Task) -> pd.Series:
    """The label as a number: time where survival, the class's place where a classification."""
    if task.kind == "survival":
        return table[task.time]
    if task.kind == "regression":
        return table[task.column]
    places = {cell: i for i, name in enumerate(task.classes) for cell in (name, *task.values.get(name, ()))}
    return table[task.column].map(places)


def test_a_further_task_leaves_the_others_as_they_were(plan: dict[str, Any]) -> None:
    fewer = plan | {"tasks": {name: task for name, task in plan["tasks"].items() if name != "receptor"}}
    table, other = (draw_labels(p, 30, "c", seed=1, prefix="X") for p in (plan, fewer))
    pd.testing.assert_frame_equal(table[other.columns], other)
    assert sheet_columns(fewer) == [column for column in sheet_columns(plan) if column != "her2"]


def test_slides_show_each_programme_in_its_channels(plan: dict[str, Any]) -> None:
    from pathduet.phantom.appearance import appearance

    design = FileDesign(patients=60, external=0, plan=plan)
    looks = [
        (p, appearance(p.seed, p.patient_id, p.slide_id, p.programmes, p.channels, p.look))
        for p in slide_plans(design, "key")
    ]
    necrosis = [look.extent.necrosis for _, look in looks]
    for subspace, low, high in (("immune", 0.7, 1.0), ("epithelium", -0.3, 0.3), ("stroma", -0.3, 0.3)):
        r = stats.spearmanr(necrosis, [p.programmes[subspace] for p, _ in looks]).statistic
        assert low < r < high, subspace


def test_a_design_travels_as_plain_values(plan: dict[str, Any]) -> None:
    for design in (Design(patients=12), FileDesign(external=0, plan=plan)):
        assert design_of(design.to_plain()) == design


def test_everything_wrong_with_a_design_is_said(plan: dict[str, Any], tmp_path: Path) -> None:
    def problems(changed: dict[str, Any]) -> str:
        path = tmp_path / "design.yaml"
        path.write_text(yaml.safe_dump(changed))
        with pytest.raises(InputError) as caught:
            read_design(path)
        return str(caught.value)

    said = problems(plan | {"patient": 20, "without_slides": 2})
    assert "did you mean patients?" in said and "without_slides" in said
    tasks = plan["tasks"]
    said = problems(plan | {"tasks": {"os": tasks["os"] | {"evnt": "x"}}})
    assert "tasks.os" in said
    follows = {"follows": {"epithelum": 1.0}}
    said = problems(
        plan
        | {
            "tasks": {
                "receptor": tasks["receptor"] | {"truth": {**follows, "shares": [1, 1, 1]}},
                "os": {"kind": "survival", "time": "her2", "event": "dead", "truth": {"follows": {}}},
                "pfi": tasks["pfi"] | {"event": {"column": "x", "observed": 0}},
            },
            "covariates": {"weight_kg": "numeric"},
        }
    )
    for part in (
        "did you mean epithelium?", "3 shares of 2 classes", "tasks.os.truth.median", "'her2' is made twice",
        "0 is observed and censored", "covariates.weight_kg",
    ):  # fmt: skip
        assert part in said, part
    subspaces = plan["subspaces"] | {"immune": {"genes": 5, "shows": ["cells"]}}
    assert "cells shows epithelium already" in problems(plan | {"subspaces": subspaces})
    assert "neither slides nor expression" in problems(
        plan | {"expression": False, "sheets": {"slides": None}}
    )


def test_the_command_takes_a_designs_numbers_unless_told_others(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "kidney"
    words = [
        "simulate",
        "--design",
        str(folder / "expression_only.yaml"),
        "--out",
        str(out),
        "--patients",
        "14",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert f"pathduet run -c {out / 'config.yaml'}" in result.output
    _, patients = read_sheets(None, out / "patients.xlsx")
    assert patients["cohort"].value_counts().to_dict() == {"kidney": 14, "kidney_external": 30}
    assert not (out / "slides").exists()


def test_the_demos_patients_are_those_of_its_published_results(tmp_path: Path) -> None:
    write_tables(tmp_path, Design())
    digest = hashlib.sha256((tmp_path / "patients.tsv").read_bytes()).hexdigest()
    assert digest.startswith("4cabbaf8cae51d68")
