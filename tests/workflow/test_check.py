"""`pathduet check` and the start of a run refuse the same things: whatever a job would refuse later."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import tiny_cohort
from pathduet.cli import app
from pathduet.core.config import merge
from pathduet.core.errors import InputError
from pathduet.phantom.cohort import write_tables
from pathduet.phantom.design import Design
from pathduet.workflow.plan import Plan
from pathduet.workflow.preflight import check_inputs, preflight

pytestmark = pytest.mark.slow

SMALL = {"patients": 12, "external": 4, "slide_px": 512}
#: Follow-up ends at a trial's end for most.
TIED = {f"PH{i:03d}": (1826, 0) for i in (2, 3, 5, 6, 8, 9, 11, 12)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of a phantom cohort, and empty files in place of its slides."""
    folder = tmp_path_factory.mktemp("drawn")
    write_tables(folder, Design(**SMALL, seed=3))
    for row in (folder / "slides.tsv").read_text().splitlines()[1:]:
        file = folder / row.split("\t")[3]
        file.parent.mkdir(exist_ok=True)
        file.touch()
    return folder


@pytest.fixture
def cohort(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn, tmp_path / "cohort")
    return tmp_path / "cohort"


def configuration(cohort: Path, **changes: Any) -> dict[str, Any]:
    return yaml.safe_load(tiny_cohort.write_config(cohort.parent, Path("cohort"), **changes).read_text())


def refusal(value: dict[str, Any]) -> str:
    """Return why check refuses; the start of a run must say the same."""
    with pytest.raises(InputError) as caught:
        preflight(value, open_slides=False).problems.check()
    with pytest.raises(InputError) as again:
        check_inputs(Plan.from_config(value))
    assert str(again.value) == str(caught.value)
    return str(caught.value)


def edit(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)).to_csv(path, sep="\t", index=False)


def unit(cohort: Path, internal: str = "counts", external: str = "counts") -> dict[str, Any]:
    tables = [
        {"cohort": name, "path": f"cohort/expression_{name.rpartition('_')[2]}.tsv.gz", "unit": declared}
        for name, declared in (("phantom", internal), ("phantom_external", external))
    ]
    return configuration(cohort, expression={"tables": tables})


def test_a_good_cohort_is_ready(cohort: Path) -> None:
    assert preflight(configuration(cohort), open_slides=False).text().endswith("Ready to run.")


def test_samples_and_files_that_are_there_twice_are_told(cohort: Path) -> None:
    edit(cohort / "slides.tsv", lambda t: t.assign(path=[t["path"][1], *t["path"][1:]]))
    table = unit(cohort)["expression"]["tables"][0]
    names = pd.read_csv(table["path"], sep="\t", nrows=0).columns[1:]
    owners = [names[1], *names[1:]]
    sheet = pd.DataFrame(
        {"sample_id": names, "patient_id": owners, "slide_id": ["", "", "gone", *[""] * (len(names) - 3)]}
    )
    sheet.to_csv("samples.tsv", sep="\t", index=False)
    changed = unit(cohort)
    changed["expression"]["tables"][0]["samples"] = "samples.tsv"
    text = preflight(changed, open_slides=False).text()
    assert "share a file with another: PH001-1, PH002-1\n" in text
    assert (
        f"samples of a patient are averaged: {names[1]}\n" in text
        and "that are not in the sheet: gone\n" in text
    )


def test_folds_that_divide_hospitals_are_told_until_they_keep_them_together(cohort: Path) -> None:
    edit(
        cohort / "slides.tsv",
        lambda t: t.assign(site=t["patient_id"].map(lambda p: "Graz" if int(p[-3:]) % 2 else "Oslo")),
    )

    def said(**split: Any) -> str:
        return preflight(
            configuration(cohort, tasks=tiny_cohort.ONLY_SURVIVAL, split={"folds": 2, **split}),
            open_slides=False,
        ).text()

    assert "warning: patients of 2 sites (Graz, Oslo) are on both sides of folds" in said()
    assert "sites" not in said(site_preserving=True)


def test_a_covariate_that_no_column_has_is_told(cohort: Path) -> None:
    said = preflight(configuration(cohort, covariates={"age_yaers": "numeric"}), open_slides=False)
    assert "covariates without a column in the sheet: age_yaers" in said.sections["Labels (internal cohorts)"]


def test_ties_in_survival_times_are_found_before_any_training(cohort: Path) -> None:
    def tie(table: pd.DataFrame) -> pd.DataFrame:
        for patient, (days, event) in TIED.items():
            table.loc[table["patient_id"] == patient, ["survival_days", "event"]] = [str(days), str(event)]
        return table

    edit(cohort / "patients.tsv", tie)
    said = refusal(configuration(cohort, tasks=tiny_cohort.ONLY_SURVIVAL, split={"folds": 2}))
    assert "task survival, training part of fold 0: survival times: ties give the edges" in said


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"internal": "log2_tpm"}, "cohort phantom: expression_phantom.tsv.gz, unit log2_tpm"),
        ({"external": "log2_tpm"}, "cohort phantom_external: expression_external.tsv.gz, unit log2_tpm"),
    ],
)
def test_a_unit_that_cannot_be_is_found_before_the_slides(
    cohort: Path, declared: dict[str, str], said: str
) -> None:
    assert said in refusal(unit(cohort, **declared))


@pytest.mark.slow
def test_a_start_reads_tables_again_only_if_something_that_the_look_depends_on_is_another(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathduet.expression import prepare
    from pathduet.workflow.plan import Plan
    from pathduet.workflow.preflight import check_inputs
    from pathduet.workflow.status import write_plan

    value = configuration(cohort)
    value["results"] = str(tmp_path / "results")
    read: list[int] = []
    plain = prepare.read_tables
    monkeypatch.setattr(prepare, "read_tables", lambda section: read.append(1) or plain(section))

    def start() -> int:
        before, plan = len(read), Plan.from_config(value)
        check_inputs(plan, read_again=False)
        plan.results.root.mkdir(exist_ok=True)
        write_plan(plan, plan.results.root)
        return len(read) - before

    assert [start(), start()] == [1, 0]
    check_inputs(Plan.from_config(value))  # `pathduet check` always looks
    assert len(read) == 2
    table = cohort / "expression_phantom.tsv.gz"
    numbers = pd.read_csv(table, sep="\t", index_col=0)
    numbers.iloc[:, ::-1].to_csv(table, sep="\t")
    assert [start(), start()] == [1, 0]
    patients = pd.read_csv(cohort / "patients.tsv", sep="\t", dtype=str)
    patients.iloc[::-1].to_csv(cohort / "patients.tsv", sep="\t", index=False)
    assert start() == 1


def test_z_scores_beside_counts_are_refused(cohort: Path) -> None:
    path = cohort / "expression_external.tsv.gz"
    table = pd.read_csv(path, sep="\t", index_col=0)
    table.sub(table.mean(axis=1), axis=0).div(table.std(axis=1) + 1, axis=0).to_csv(path, sep="\t")
    assert "phantom_external z-scored, phantom not" in refusal(unit(cohort, external="zscore"))


def test_tables_without_a_listed_gene_or_a_known_patient_are_refused(cohort: Path) -> None:
    value = configuration(cohort)
    edit(cohort / "expression_phantom.tsv.gz", lambda t: t.rename(columns=lambda c: c.replace("PH", "PX9")))
    assert "expression of phantom: no sample is of a patient of the cohort" in refusal(value)

    def other_genes(table: pd.DataFrame) -> pd.DataFrame:
        table.iloc[:, 0] = [f"LOC{i}" for i in range(len(table))]
        return table

    for name in ("phantom", "external"):
        edit(cohort / f"expression_{name}.tsv.gz", other_genes)
    assert "genes, tumor: none of the" in refusal(value)
    assert "genes, tme: none of the" in refusal(value)


def test_an_encoder_that_cannot_be_had_is_an_error(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cohort / "weights.pt").write_bytes(b"")
    value = configuration(cohort, encoder={"name": "torchscript"})
    assert "encoder torchscript: not available" in refusal(value)
    monkeypatch.setenv("TORCH_HOME", str(cohort))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    result = CliRunner().invoke(app, ["check", "-c", str(cohort.parent / "config.yaml")])
    assert result.exit_code != 0
    found = "\n".join([result.output, *map(str, result.exception.problems)])
    for said in (
        "Slides\n  0 of",
        "genes in all tables",
        "Not ready to run.",
        "encoder torchscript: not available",
        "no patient with a label and slide",
    ):
        assert said in found


def test_a_stain_target_that_is_no_image_is_refused(cohort: Path) -> None:
    (cohort / "target.png").write_text("a text")
    assert "stain.target: stain.target: target.png cannot be read" in refusal(
        configuration(cohort, stain={"target": "cohort/target.png"})
    )


def test_a_cohort_of_excluded_slides_is_refused(cohort: Path) -> None:
    edit(cohort / "slides.tsv", lambda table: table.assign(exclude="blurred"))
    assert "are excluded; clear `exclude` for some" in refusal(configuration(cohort))


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ("cohort/slides/results", "holds raw slides, or is inside their folder"),
        ("cohort/slides", "holds raw slides, or is inside their folder"),
        ("cohort", "holds raw slides, or is inside their folder"),
        ("cohort/slides.tsv", "is a file; name a folder"),
        ("cohort/slides.tsv/results", "is a file; name a folder"),
        ("res{ults}", "has braces"),
    ],
)
def test_results_go_to_a_folder_of_their_own(cohort: Path, results: str, said: str) -> None:
    assert said in refusal(configuration(cohort, results=results))


@pytest.mark.parametrize(("there", "wanted"), [(5, 3), (2, 3)])
def test_a_folds_file_of_another_number_is_refused(cohort: Path, there: int, wanted: int) -> None:
    rows = [f"PH{i + 1:03d}\t{i % there}" for i in range(12)]
    (cohort / "folds.tsv").write_text("patient_id\tfold\n" + "\n".join(rows) + "\n")
    value = configuration(
        cohort, tasks=tiny_cohort.ONLY_SURVIVAL, split={"file": "cohort/folds.tsv", "folds": wanted}
    )
    with pytest.raises(
        InputError, match=f"{there} folds, where split.folds is {wanted}; set split.folds: {there}"
    ):
        Plan.from_config(value)


def test_a_class_that_a_fold_is_not_trained_on_is_told(cohort: Path) -> None:
    patients = pd.read_csv(cohort / "patients.tsv", sep="\t").query("cohort == 'phantom'")
    order = patients.sort_values("grade")["patient_id"]  # a grade to a fold
    rows = [f"{patient}\t{i * 3 // 12}" for i, patient in enumerate(order)]
    (cohort / "folds.tsv").write_text("patient_id\tfold\n" + "\n".join(rows) + "\n")
    value = configuration(cohort, split={"file": "cohort/folds.tsv"})
    assert "warning: fold 0 is trained without G2" in preflight(value, open_slides=False).text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model": {"width": 18, "offset_groups": 4}},
            "model.width: 18 is not a multiple of offset_groups 4",
        ),
        ({"model": {"offset_kernel": 1, "stride": 2}}, "model.offset_kernel: 1 is smaller than stride 2"),
        ({"slides": {"min_tiles": 9000}}, "slides.min_tiles: 9000, above slides.max_tiles: 2500"),
        ({"predict": {"model": "studnet"}}, "predict.model: 'studnet' is unknown; did you mean student?"),
        ({"explanations": {"models": ["x"]}}, "explanations.models: 'x' is unknown"),
        ({"evaluation": {"gain_over": "nothing"}}, "evaluation.gain_over: 'nothing' is unknown"),
        (
            {"explanations": {"regions": {"legend": "no.json"}}},
            "explanations.regions.legend: no file 'no.json'",
        ),
        ({"preset": ["glioma"]}, "preset: "),
    ],
)
def test_what_no_run_can_have_is_refused(cohort: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Plan.from_config(configuration(cohort, **changes))


def test_settings_that_a_baseline_does_not_have_are_refused(cohort: Path) -> None:
    settings = {"abmil": {"widht": 3}}
    assert "abmil.widht: no setting of this model" in refusal(
        configuration(cohort, comparison={"settings": settings})
    )


def test_slides_that_cannot_be_opened_leave_nobody_to_train_on(cohort: Path) -> None:
    report = preflight(configuration(cohort))  # its slides are empty files
    with pytest.raises(InputError, match="training part of fold 0: no patient with a label and slide"):
        report.problems.check()


def test_files_are_laid_over_each_other_as_snakemake_does(tmp_path: Path) -> None:
    from snakemake.utils import update_config

    from pathduet.core.config import read_all

    layers: list[dict[str, Any]] = [
        {
            "subspaces": {"a": "shipped"},
            "model": {"width": 8, "tokens": 16},
            "tasks": {"x": {"kind": "survival"}},
        },
        {"subspaces": {"b": "shipped"}, "model": {"width": 16}, "tasks": {"x": None}},
    ]
    snakemakes: dict[str, Any] = {}
    for i, layer in enumerate(layers):
        (tmp_path / f"{i}.yaml").write_text(yaml.safe_dump(layer))
        update_config(snakemakes, layer)
    assert read_all([tmp_path / "0.yaml", tmp_path / "1.yaml"]) == snakemakes
    assert merge(*layers)["subspaces"] == {"b": "shipped"}  # over the defaults they are replaced
