"""Cohorts of other kinds, each from `pathduet simulate --design` through the whole workflow to the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import tiny_cohort
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.config import merge, resolve
from pathduet.evaluation.metrics import metric_names
from pathduet.phantom import simulate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

Run = tuple[Path, dict[str, Task]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Return a design's finished run: its results, and its tasks."""
    done: dict[str, Run] = {}

    def run(name: str) -> Run:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            design = tiny_cohort.REPOSITORY / "examples" / "designs" / f"{name}.yaml"
            numbers = {"patients": 12, "slide_px": 1024}
            if name != "slides_only":
                numbers["external"] = 4
            simulate(folder / "cohort", 1, design_file=design, **numbers)
            made = yaml.safe_load((folder / "cohort" / "config.yaml").read_text())
            small = {
                key: value for key, value in tiny_cohort.SMALL.items() if key not in ("cohorts", "preset")
            }
            # what the design says itself is tested; its sizes are not
            small = merge(small, {"training": tiny_cohort.TOGETHER})
            config = merge(made, merge(small, {key: made[key] for key in ("comparison",) if key in made}))
            path = folder / "config.yaml"
            path.write_text(yaml.safe_dump(config))
            result = tiny_cohort.snakemake(folder, path)
            assert result.returncode == 0, result.stdout[-8000:]
            done[name] = Path(config["results"]), tasks_of(resolve(config))
        return done[name]

    return run


def check_tables(results: Path, tasks: dict[str, Task], models: set[str], external: bool) -> None:
    """Every task's table is there with finite numbers of every model, or why there are none, and no publication's beside them."""
    for task in tasks.values():
        for name in (task.name, *([f"external_{task.name}"] if external else [])):
            table = pd.read_csv(results / "tables" / f"{name}.tsv", sep="\t")
            assert models <= set(table["model"]), name
            assert set(metric_names(task)) <= set(table["metric"]), name
            first = table[(table["metric"] == metric_names(task)[0]) & table["model"].isin(models)]
            said = (
                first["holes"].notna() if external and name != task.name else False
            )  # four patients may all be alike
            assert (np.isfinite(first["mean"]) | said).all(), (name, first)
            assert np.isfinite(first["mean"]).any(), name
            assert "published_mean" not in table or table["published_mean"].isna().all()


def check_report(results: Path, tasks: dict[str, Task], title: str) -> str:
    """The report has the run's title and tasks, and words of no other disease."""
    page = (results / "report" / "report.html").read_text()
    assert title in page
    for task in tasks.values():
        assert task.title in page
    for foreign in ("glioma", "diagnosis", "published mean"):
        assert foreign not in page.casefold(), foreign
    return page


def left_out(results: Path) -> pd.DataFrame:
    table = pd.read_csv(results / "left_out.tsv", sep="\t", keep_default_na=False)
    assert list(table.columns) == ["model", "reason"]
    assert (table["reason"] != "").all()
    return table


def test_a_breast_cohort_with_every_kind_of_task(finished: Callable[[str], Run]) -> None:
    results, tasks = finished("breast")
    assert {task.kind for task in tasks.values()} == {"classification", "regression", "survival"}
    check_tables(
        results, tasks, {"teacher", "student", "distilled", "abmil", "pooled_components"}, external=True
    )
    check_report(results, tasks, "A simulated breast cohort")
    assert left_out(results).empty
    who = pd.read_csv(results / "participation.tsv", sep="\t").set_index("patient_id")
    internal = who[who["cohort"] == "breast"]
    assert (internal["expression"] == "no").sum() == 2 and (internal["n_slides"] == 0).sum() == 1
    assert (internal["os"] == "slides").sum() == 2 and (internal["os"] == "expression").sum() == 1
    assert (internal["ki67"] == "no label").sum() == 1
    for subspace in ("epithelium", "immune", "stroma"):
        assert subspace in (results / "report" / "report.html").read_text()


def test_each_model_of_a_mixed_cohort_uses_whom_it_can(finished: Callable[[str], Run]) -> None:
    results, _ = finished("breast")
    who = pd.read_csv(results / "participation.tsv", sep="\t").set_index("patient_id")

    def predicted(model: str) -> set[str]:
        files = (results / "models" / "os" / model).glob("fold-*/predictions.tsv")
        return {patient for file in files for patient in pd.read_csv(file, sep="\t")["patient_id"]}

    state = who.loc[who["cohort"] == "breast", "os"]
    assert predicted("teacher") == set(state.index[state == "both"])
    assert predicted("student") == set(state.index[state.isin(["both", "slides"])])


def test_slides_and_labels_alone(finished: Callable[[str], Run]) -> None:
    results, tasks = finished("slides_only")
    check_tables(results, tasks, {"student", "abmil", "pooled_features"}, external=False)
    page = check_report(results, tasks, "Slides and labels alone")
    out = left_out(results)
    assert set(out["model"]) == {"teacher", "distilled"} and out["reason"].str.contains("expression").all()
    assert out["reason"].iloc[0] in page
    assert not (results / "genes").exists()
    who = pd.read_csv(results / "participation.tsv", sep="\t")
    assert set(who["subtype"]) == {"slides"} and "no label" in set(who["relapse"])


def test_expression_alone(finished: Callable[[str], Run]) -> None:
    results, tasks = finished("expression_only")
    check_tables(results, tasks, {"snn", "components"}, external=True)
    page = check_report(results, tasks, "Expression alone")
    out = left_out(results)
    assert {"teacher", "student", "distilled"} <= set(out["model"])
    assert out["reason"].str.contains("slides").all() and out["reason"].iloc[0] in page
    assert pd.read_csv(results / "ledger.tsv", sep="\t").empty
    who = pd.read_csv(results / "participation.tsv", sep="\t")
    assert set(who["dss"]) == {"expression"}
    predictions = pd.read_csv(results / "models/dss/snn/fold-0/predictions.tsv", sep="\t")
    assert predictions["slide_id"].isna().all() and len(predictions) == 4
