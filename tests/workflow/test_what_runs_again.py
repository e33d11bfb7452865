"""Content decides what runs again: a change plans the rules whose results it can alter, and no others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import tiny_cohort
from pathduet.cohort.sheets import SlideRow
from pathduet.core.config import merge
from pathduet.core.errors import InputError
from pathduet.core.file_content import ALWAYS_READ, FileContents
from pathduet.core.files import sha256_file
from pathduet.features.check import verify_features
from pathduet.results import Results
from pathduet.slides.foreign_features import ForeignSettings, point_anew, take_batch
from pathduet.slides.source import SOURCE, known_by, planned_as, read_content, slide_files
from pathduet.workflow.earlier_results import refuse_unrecorded, set_back_dates
from pathduet.workflow.job import job
from pathduet.workflow.plan import Plan
from pathduet.workflow.status import write_plan

sys.path.insert(0, str(tiny_cohort.REPOSITORY / "tests" / "features"))
import foreign_files

pytestmark = pytest.mark.slow
INTERNAL, EXTERNAL = [f"P{i:02d}" for i in range(12)], ["X1", "X2", "X3"]
PATIENTS = [*INTERNAL, *EXTERNAL]


def write_table(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, sep="\t", index=False)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Sheets, tables and files of 12 patients and 3 external ones, each slide already read once, and a configuration."""
    slides = [(f"{p}-{k}", p, "ext" if p in EXTERNAL else "int") for p in PATIENTS for k in (1, 2)]
    (tmp_path / "slides").mkdir()
    for slide, _, _ in slides:
        (tmp_path / "slides" / f"{slide}.svs").write_text(f"pixels of {slide}")
    sheet = pd.DataFrame(slides, columns=["slide_id", "patient_id", "cohort"])
    write_table(
        tmp_path / "slides.tsv", sheet.assign(path="slides/" + sheet["slide_id"] + ".svs", scanner="A")
    )
    n = len(PATIENTS)
    write_table(
        tmp_path / "patients.tsv",
        pd.DataFrame(
            {
                "patient_id": PATIENTS, "cohort": ["ext" if p in EXTERNAL else "int" for p in PATIENTS],
                "grade": [("G2", "G3", "G4")[i % 3] for i in range(n)], "time": [100 + 37 * i for i in range(n)],
                "event": [i % 2 for i in range(n)], "age": [40 + i for i in range(n)], "remark": "none",
            }
        ),
    )  # fmt: skip
    for name, of in (("int", INTERNAL), ("ext", EXTERNAL)):
        genes = pd.DataFrame({p: [5 * i, i + 3] for i, p in enumerate(of)})
        genes.insert(0, "gene_symbol", ["EGFR", "CD8A"])
        write_table(tmp_path / f"{name}.tsv", genes)
    for name in ("P03-1", "P04-1"):
        (tmp_path / f"{name}.geojson").write_text(f"regions of {name}")
    (tmp_path / "tumor.txt").write_text("EGFR\n")
    (tmp_path / "weights.pt").write_bytes(b"weights")
    (tmp_path / "target.png").write_bytes(b"a picture")
    (tmp_path / "network.py").write_text("class N: ...\n")
    config = {
        "results": str(tmp_path / "results"),
        "sheets": {"slides": str(tmp_path / "slides.tsv"), "patients": str(tmp_path / "patients.tsv")},
        "cohorts": {"internal": ["int"], "external": ["ext"]},
        "tasks": {
            "grading": {"kind": "classification", "column": "grade", "classes": ["G2", "G3", "G4"], "ordered": True},
            "survival": {"kind": "survival", "time": "time", "event": "event"},
        },
        "covariates": {"age": "numeric"},
        "explanations": {"regions": {"annotations": str(tmp_path / "{slide_id}.geojson")}},
        "split": {"folds": 2},
        "slides": {"slides_per_job": 8},
        "subspaces": {"tumor": str(tmp_path / "tumor.txt"), "tme": "shipped"},
        "stain": {"target": str(tmp_path / "target.png")},
        "encoder": {"name": "torchscript", "weights": str(tmp_path / "weights.pt"), "input_px": 224},
        "expression": {"tables": [{"cohort": name, "path": str(tmp_path / f"{name}.tsv"), "unit": "counts"}
                                  for name in ("int", "ext")]},
        "comparison": {"own_models": {"mine": {"file": str(tmp_path / "network.py"), "network": "N"}}},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    plan = plan_of(tmp_path)
    for slide in plan.slides:
        read_content(slide_files(slide.path), plan.results.slide(slide.slide_id) / SOURCE)
    for batch in plan.batches:
        manifest = plan.results.batch("stain", batch)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.touch()
    write_plan(plan, plan.results.root)
    return tmp_path


def config_of(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "config.yaml").read_text()))


def plan_of(folder: Path, config: dict[str, Any] | None = None) -> Plan:
    return Plan.from_config(config_of(folder) if config is None else config)


def decided(plan: Plan) -> dict[str, Any]:
    """Return what decides each job, by rule and wildcards."""
    jobs = {
        f"{'_and_'.join(stages)} {b}": plan.stages_job(stages, b)
        for b in plan.batches
        for stages in (("tile", "stain"), ("features",))
    }
    jobs |= {f"train {task} {m}": plan.train_job(task, m) for task in plan.tasks for m in plan.networks}
    jobs |= {f"table {table}": plan.evaluation_job(table) for table in plan.tables}
    jobs |= {f"explain {task}": plan.explanation_job(task) for task in plan.tasks}
    jobs |= {f"heatmap {target[-1]}": plan.heatmap_job(target[-1]) for target in plan.heatmaps}
    jobs |= {
        "ledger": plan.ledger_job(), "split": plan.split_job(), "genes": plan.genes_job(),
        "regressions": plan.regressions_job(), "participation": plan.participation_job(),
        "provenance": plan.provenance_job(), "report": plan.report_job([]),
    }  # fmt: skip
    return {name: job.decided_by for name, job in jobs.items()}


def rerun(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Return the rules of which a job is decided otherwise, or new; of trainings also the task."""
    names = {name for name in after if after[name] != before.get(name)}
    return {
        " ".join(name.split()[: 2 if name.startswith(("train", "table", "explain")) else 1]) for name in names
    }


#: What shows the configuration and the sheets as they are.
SHOWN = {"provenance", "report"}
TRAINED = {"train grading", "train survival"}


def reordered(value: Any) -> Any:
    """Return mappings with their keys the other way round; subspaces keep their order, which is the networks'."""
    if not isinstance(value, dict):
        return value
    return {key: value[key] if key == "subspaces" else reordered(value[key]) for key in reversed(value)}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"training": {"epochs": 10, "teacher": {"lambda_dev": 10}}}, set()),
        ({"slides": {"min_tissue": 0.5, "thumbnail_mpp": 8}, "encoder": {"stage": 3}}, set()),
        # said once more where it was inherited: shown, but the same
        ({"training": {"teacher": {"learning_rate": 0.001}}, "encoder": {"options": {}}}, SHOWN),
        ({"slides": {"slides_per_job": 3}}, SHOWN),
        ({"slides": {"memory_limit_mib": 9000, "time_limit_s": 10}}, SHOWN),
        ({"slides": {"lost_slides_exit_status": 0}}, SHOWN),
        ({"encoder": {"batch_size": 8, "device": "cpu", "engine": "torch"}}, SHOWN),
        ({"training": {"teacher": {"cache_mib": 64}, "cache_mib": 100, "logger": "tensorboard"}}, SHOWN),
        ({"report": {"title": "Mine"}}, SHOWN),
        ({"encoder": {"stage": 4}}, SHOWN),  # of ResNet50 alone
        ({"explanations": {"heatmaps": {"models": ["student"]}}}, SHOWN),
        ({"labels": {"survival_bins": 3}}, SHOWN | {"train survival", "table survival", "table external_survival",
                                                     "explain survival", "regressions", "participation"}),
        ({"slides": {"min_tissue": 0.4}}, SHOWN | {"tile_and_stain"}),
        ({"slides": {"min_sharpness": 0.2}}, SHOWN | {"features"}),
        ({"stain": {"percentile": 98}}, SHOWN | {"tile_and_stain"}),
        ({"training": {"learning_rate": 0.01}}, SHOWN | TRAINED),
        ({"expression": {"hvg_fraction": 0.5}}, SHOWN | {"genes"}),
    ],
)  # fmt: skip
def test_a_setting_reruns_what_it_can_change(
    cohort: Path, change: dict[str, Any], expected: set[str]
) -> None:
    before = decided(plan_of(cohort))
    assert rerun(before, decided(plan_of(cohort, merge(config_of(cohort), change)))) == expected


@pytest.mark.parametrize(
    ("change", "trained"),
    [
        ({"neighbors": 6}, {"student", "student_longer", "distilled"}),
        ({"aggregation": "mean"}, {"student", "student_longer", "distilled"}),
        # a distilled student's job trains teachers of its own
        ({"gene_input": "vector"}, {"teacher", "distilled"}),
        ({"heads": 4}, {"teacher", "student", "student_longer", "distilled"}),
    ],
)
def test_a_network_s_setting_trains_the_networks_that_read_it(
    cohort: Path, change: dict[str, Any], trained: set[str]
) -> None:
    before = decided(plan_of(cohort))
    after = decided(plan_of(cohort, merge(config_of(cohort), {"model": change})))
    changed = {name.split()[2] for name in after if after[name] != before[name] and name.startswith("train")}
    assert changed == trained


def test_keys_tasks_and_tables_in_another_order_are_the_same_configuration(cohort: Path) -> None:
    before, config = decided(plan_of(cohort)), reordered(config_of(cohort))
    config["expression"]["tables"].reverse()
    assert list(config["tasks"]) == ["survival", "grading"]
    assert rerun(before, decided(plan_of(cohort, config))) <= SHOWN | {"participation"}  # its columns
    config["subspaces"] = dict(reversed(config["subspaces"].items()))
    assert rerun(before, decided(plan_of(cohort, config))) >= {"genes", *TRAINED}


def edit(sheet: str, change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        table = pd.read_csv(folder / sheet, sep="\t", dtype=str)
        changed = change(table)
        write_table(folder / sheet, table if changed is None else changed)
        os.utime(folder / sheet, (1, 1))  # older than all results, as cp -p, rsync -a and tar leave it

    return apply


def cell(patient: str, column: str, value: str) -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.loc[table["patient_id"] == patient, column] = value

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)
        os.utime(folder / name, (1, 1))

    return change


def swap(one: str, other: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / one).rename(folder / "third")
        (folder / other).rename(folder / one)
        (folder / "third").rename(folder / other)

    return change


def touch_everything(folder: Path) -> None:
    for path in folder.rglob("*"):
        if "results" not in path.parts:
            os.utime(path, (2e9, 2e9))


def move_slides(folder: Path) -> None:
    shutil.move(folder / "slides", folder / "elsewhere")
    edit("slides.tsv", lambda t: t.assign(path=t["path"].str.replace("slides/", "elsewhere/")))(folder)


def copy_slides(folder: Path) -> None:
    shutil.copytree(folder / "slides", folder / "elsewhere", copy_function=shutil.copyfile)
    edit("slides.tsv", lambda t: t.assign(path=t["path"].str.replace("slides/", "elsewhere/")))(folder)


EXTERNAL_TABLES = {"table external_grading", "table external_survival"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (touch_everything, set()),
        (edit("patients.tsv", cell("P03", "remark", "seen twice")), SHOWN),
        (edit("slides.tsv", lambda t: t.assign(scanner="B")), SHOWN),
        (write("P03-1.geojson", b"{ }"), {"explain grading", "explain survival"}),
        (swap("P03-1.geojson", "P04-1.geojson"), {"explain grading", "explain survival"}),
        (edit("slides.tsv", lambda t: t.assign(mask_frame="qupath")), SHOWN | {"tile_and_stain"}),
        (edit("slides.tsv", lambda t: t.iloc[::-1]), SHOWN | {"heatmap"}),
        (edit("patients.tsv", lambda t: t.iloc[::-1]), SHOWN),
        (move_slides, SHOWN),
        (copy_slides, SHOWN),
        (edit("patients.tsv", cell("X2", "time", "999")), SHOWN | {"table external_survival", "regressions",
                                                                    "explain survival", "participation"}),
        (edit("patients.tsv", cell("X2", "age", "70")), SHOWN | {"regressions"}),
        (edit("patients.tsv", cell("P04", "time", "999")), SHOWN | {"train survival", "regressions", "explain survival",
                                                                     "participation"}),
        (write("weights.pt", b"weighty"), SHOWN | {"features"}),
        (write("target.png", b"a pictura"), SHOWN | {"tile_and_stain"}),
        (write("tumor.txt", b"EGFR\nTP53\n"), SHOWN | {"genes"}),
        (write("network.py", b"class N: pass"), SHOWN | TRAINED),
        (edit("int.tsv", lambda t: t.rename(columns={"P01": "P02", "P02": "P01"})), SHOWN | {"genes"}),
        (edit("ext.tsv", lambda t: t.rename(columns={"X1": "X2", "X2": "X1"})), SHOWN | {"genes"}),
        (write("slides/P05-1.svs", b"pixels of P05-7"), {"tile_and_stain"}),
    ],
)  # fmt: skip
def test_content_decides_whatever_the_date(
    cohort: Path, change: Callable[[Path], None], expected: set[str]
) -> None:
    before = decided(plan_of(cohort))
    change(cohort)
    assert rerun(before, decided(plan_of(cohort))) == expected


def test_an_edited_network_trains_itself_alone(cohort: Path) -> None:
    before = decided(plan_of(cohort))
    write("network.py", b"class N: pass")(cohort)
    after = decided(plan_of(cohort))
    assert {name for name in after if after[name] != before[name]} - SHOWN == {
        f"train {t} mine" for t in ("grading", "survival")
    }


def lose(plan: Plan, batch: str, reason: str) -> None:
    """Write a batch's last manifest with a slide that was lost while it was tiled."""
    path = plan.results.batch("features", batch)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"slide_id\tstatus\tstage\treason\nP00-1\tfailed\ttile\t{reason}\n")


@pytest.mark.parametrize("reason", ["time_limit", "memory_limit", "unreadable"])
def test_a_changed_limit_tries_lost_slides_again(cohort: Path, reason: str) -> None:
    first, config = plan_of(cohort), merge(config_of(cohort), {"slides": {"memory_limit_mib": 9000}})
    lose(first, "0001", reason)
    before, raised = decided(first), plan_of(cohort, config)
    found = rerun(before, decided(raised)) - SHOWN
    assert found == (set() if reason == "unreadable" else {"tile_and_stain"})
    assert [
        b for b in raised.batches if decided(raised)[f"tile_and_stain {b}"] != before[f"tile_and_stain {b}"]
    ] == ["0001"] * len(found)
    # tried once: with that limit there is nothing more to do, whether the slide was lost again or not
    write_plan(raised, raised.results.root)
    assert rerun(decided(raised), decided(plan_of(cohort, config))) == set()
    lose(raised, "0001", "")
    assert rerun(decided(raised), decided(plan_of(cohort, config))) == set()


def test_a_new_slide_gets_a_batch_of_its_own_and_leaves_the_others(cohort: Path) -> None:
    before = plan_of(cohort)
    (cohort / "slides/new.svs").write_text("new")
    first = [{"slide_id": "A", "patient_id": "P00", "cohort": "int", "path": "slides/new.svs"}]
    edit("slides.tsv", lambda t: pd.concat([pd.DataFrame(first), t]))(cohort)
    after = plan_of(cohort)
    assert {b: after.batches[b] for b in before.batches} == before.batches
    assert [[s.slide_id for s in after.batches[b]] for b in set(after.batches) - set(before.batches)] == [
        ["A"]
    ]
    # what was never begun is dealt as it is now wished; a job on another machine deals as the run that started it
    shutil.rmtree(cohort / "results/batches")
    small = merge(config_of(cohort), {"slides": {"slides_per_job": 1}})
    assert len(plan_of(cohort, small).batches) == len(after.slides)
    write_plan(after, after.results.root)
    assert Plan.from_config(small, as_started=True).batches == after.batches


def test_a_slide_is_known_by_all_of_its_bytes(tmp_path: Path) -> None:
    slide, record = tmp_path / "a.mrxs", tmp_path / "source.json"
    (tmp_path / "a").mkdir()
    for path in (slide, tmp_path / "a/Data0000.dat"):
        path.write_bytes(b"0" * 80 * 2**20 if path != slide else b"index")
    first = planned_as(slide_files(slide), record)
    sha256 = read_content(slide_files(slide), record)
    os.utime(slide, (5, 5))
    assert (
        planned_as(slide_files(slide), record) == first and read_content(slide_files(slide), record) == sha256
    )
    with (tmp_path / "a/Data0000.dat").open("r+b") as file:
        file.seek(41 * 2**20 + 3)
        file.write(b"1")
    assert planned_as(slide_files(slide), record) != first
    assert json.loads(record.read_text())["sha256"] == sha256  # a plan that is only looked at decides nothing
    assert read_content(slide_files(slide), record) != sha256


def test_features_of_another_tool_may_move_and_are_known_by_content(tmp_path: Path) -> None:
    coords, results = np.argwhere(np.ones((3, 4))) * 448, tmp_path / "results"
    file, moved = tmp_path / "S1.h5", tmp_path / "elsewhere.h5"
    foreign_files.trident(file, np.ones((12, 8), np.float32), coords)
    settings = ForeignSettings(None, 1, None)

    def taken(path: Path) -> tuple[Any, list[str]]:
        row = SlideRow("S1", "P1", "c", features_20x=path)
        known = known_by(row, results, planned_as)
        point_anew(row, results)
        verify_features(Results(results), ["S1"] if known_by_run else [])
        (status,) = take_batch([row], results, settings, tmp_path / "m.tsv")
        return status, known

    known_by_run = False
    first, _ = taken(file)
    known_by_run = True
    status, known = taken(file)
    assert status == first
    shutil.copyfile(file, moved)  # its date is another
    file.unlink()
    assert taken(moved) == (status, known)
    assert str(moved) in Results(results).feature_pointer("S1").read_text()
    foreign_files.trident(moved, np.full((12, 8), 2, np.float32), coords)
    with pytest.raises(InputError, match="changed after the run read it"):
        taken(moved)
    assert known_by(SlideRow("S1", "P1", "c", features_20x=moved), results, planned_as) != known


def test_a_large_file_is_read_again_only_if_its_size_or_date_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, memory = tmp_path / "weights.pt", tmp_path / "results/.contents.json"
    memory.parent.mkdir()
    file.write_bytes(b"0" * (ALWAYS_READ + 1))
    first = FileContents(memory).of(file)
    read: list[object] = []
    real = sha256_file
    monkeypatch.setattr(
        "pathduet.core.file_content.sha256_file", lambda path: read.append(path) or real(path)
    )
    assert FileContents(memory).of(file) == first and read == []
    os.utime(file, (5, 5))
    assert FileContents(memory).of(file) == first and read == [file]
    file.write_bytes(b"0" * ALWAYS_READ + b"1")
    os.utime(file, (3, 3))
    assert FileContents(memory).of(file) != first
    assert FileContents(memory).of(tmp_path / "nowhere") == "absent"


def test_a_job_refuses_a_file_that_changed_since_the_start(
    cohort: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pathduet.workflow.job.os.dup2", lambda *_: None)
    results = cohort / "results"
    given = SimpleNamespace(
        rule="split", wildcards={}, config={"results": str(results), "seed": 1}, threads=1, input=[], output=[],
        log=[str(results / "logs/split.log")],
        params={"files": {"patients": str(cohort / "patients.tsv"), "own": []}, "settings": {}},
    )  # fmt: skip
    with job(given):
        pass
    edit("patients.tsv", cell("P03", "remark", "x"))(cohort)
    with pytest.raises(SystemExit), job(given):
        raise AssertionError("it read another file than was planned")
    assert "patients.tsv: changed after this run started" in capfd.readouterr().err


def test_results_without_records_are_refused(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cohort)
    results = Results(Path("results"))
    refuse_unrecorded(results)
    for path in (results.folds, results.ledger):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with pytest.raises(InputError, match=r"no record of how they were made in .*--forceall --touch"):
        refuse_unrecorded(results)
    # Snakemake's own name of the record of results/ledger.tsv
    record = cohort / ".snakemake/metadata/cmVzdWx0cy9sZWRnZXIudHN2"
    record.parent.mkdir(parents=True)
    record.touch()
    refuse_unrecorded(results)
    with pytest.raises(InputError):
        refuse_unrecorded(Results(cohort / "results"))


def test_results_dated_ahead_are_set_back(cohort: Path) -> None:
    results = Results(cohort / "results")
    results.folds.parent.mkdir()
    for path, date in ((results.folds, 4e9), (results.ledger, 1e9)):
        path.touch()
        os.utime(path, (date, date))
    set_back_dates(results)
    started = (results.root / ".plan.json").stat().st_mtime_ns
    assert results.folds.stat().st_mtime_ns == started and results.ledger.stat().st_mtime == 1e9


@pytest.mark.parametrize("written", ["res", "./res", "res/", "~/res"])
def test_results_have_one_name(cohort: Path, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("HOME", str(cohort))
    found = plan_of(cohort, config_of(cohort) | {"results": written}).config["results"]
    assert found == (str(cohort / "res") if "~" in written else "res")


def test_a_module_is_refused(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "Snakefile").write_text(
        f'module pathduet:\n    snakefile: "{repository}/Snakefile"\n    config: config\n\nuse rule * from pathduet as pd_*\n'
    )
    words = [sys.executable, "-m", "snakemake", "--cores", "1", "-n"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "cannot be used as a module" in done.stdout + done.stderr
    assert not (tmp_path / "results").exists() and not (tmp_path / "demo").exists()
