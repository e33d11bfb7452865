"""A folder of slides and a table of labels become a run's sheets and configuration, and what was found is said."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from features.foreign_files import trident
from pathduet.cli import app
from pathduet.cohort.labels import task_labels
from pathduet.cohort.sheets import SlideRow, read_sheets
from pathduet.cohort.tasks import tasks_of
from pathduet.core.config import read, resolve
from pathduet.core.errors import InputError
from pathduet.workflow.init import init
from pathduet.workflow.plan import Plan
from pathduet.workflow.preflight import check_series
from slides.test_folder import dicom


def slides_in(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


@pytest.fixture
def breast(tmp_path: Path) -> Path:
    """24 patients, one of them with two slides, and labels of every kind; a patient and a slide without a partner."""
    names = [f"ward/P{i:02d}_HE.svs" for i in range(1, 25)]
    slides_in(tmp_path / "slides", *names, "P01_second.ndpi", "Q9.svs", "ward/thumbnail.png")
    lines = ["Case No;HER2;Stage;Ki67 %;OS months;OS status;age;sex;hospital;note"]
    for i in range(1, 26):
        her2, stage = ("pos" if i % 3 == 0 else "neg") if i > 1 else "unknown", ["I", "II", "III"][i % 3]
        lines.append(
            f"P{i:02d};{her2};{stage};{i * 1.5};{i - 1};{'dead' if i % 2 else 'alive'};{40 + i};f;{'AB'[i % 2]};text {i}"
        )
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_a_folder_and_a_table_become_a_run(breast: Path) -> None:
    out = breast / "run"
    text = init(breast / "labels.csv", out, slides=breast / "slides")
    slides, patients = read_sheets(out / "slides.tsv", out / "patients.tsv")
    assert len(slides) == 25 and len(patients) == 24
    assert {s.slide_id for s in slides if s.patient_id == "P01"} == {"P01_HE", "P01_second"}
    tasks = tasks_of(resolve(read(out / "config.yaml")))
    assert {name: task.kind for name, task in tasks.items()} == {
        "os": "survival", "her2": "classification", "stage": "classification", "ki67": "regression",
    }  # fmt: skip
    assert tasks["her2"].classes == ("neg", "pos") and tasks["her2"].positive == "pos"
    assert tasks["stage"].ordered and tasks["os"].unit == "months"
    labels = {name: task_labels(patients, task) for name, task in tasks.items()}
    assert labels["her2"].loc["P01", "reason"] == "HER2 missing"
    # a month and 0 months: the latter counts as empty, because no run takes it
    assert labels["os"].loc["P02", ["survival_days", "event"]].tolist() == [30.4375, 0]
    assert labels["os"].loc["P01", "reason"] == "OS months missing"
    assert resolve(read(out / "config.yaml"))["covariates"] == {"age": "numeric"}
    for said in ("'unknown' 1", "P01, OS months: 0", "thumbnail.png", "Q9.svs", "P25", "slides matched, of 24 patients: 25",
                 "source, no finding", "pos is the positive one", "pathduet check -c"):  # fmt: skip
        assert said in text


def test_features_and_a_table_become_a_run(breast: Path) -> None:
    for i in range(1, 25):
        trident(
            breast / "trident" / "features_uni_v1" / f"P{i:02d}_HE.h5",
            np.ones((3, 8)),
            np.arange(6).reshape(3, 2) * 448,
        )
    trident(breast / "trident" / "features_uni_v1" / "Q 9.h5", np.ones((3, 8)), np.zeros((3, 2)))
    given = ["--features", breast / "trident", "--labels", breast / "labels.csv", "--out", breast / "run"]
    text = CliRunner().invoke(app, ["init", *map(str, given)]).output
    assert "25 .h5" in text and "Q 9" in text and "slides matched, of 24 patients: 24" in text
    plan = Plan.from_config(read(breast / "run" / "config.yaml"))
    assert {slide.slide_id: slide.patient_id for slide in plan.slides}["P07_HE"] == "P07"
    assert all(slide.foreign["20x"].name == f"{slide.slide_id}.h5" for slide in plan.slides)
    with pytest.raises(InputError, match="no feature files"):
        init(breast / "labels.csv", breast / "other", features=breast / "slides")


def test_lists_are_whole_in_the_report_and_short_on_the_terminal(breast: Path) -> None:
    text = init(breast / "labels.csv", breast / "run", slides=breast / "slides")
    assert "... and 15 more" in text and "P24_HE" not in text
    assert "P24_HE" in (breast / "run" / "init_report.txt").read_text()


def test_nothing_is_replaced_unless_asked_for(breast: Path) -> None:
    out = breast / "run"
    init(breast / "labels.csv", out, slides=breast / "slides")
    (out / "config.yaml").write_text("mine: true\n")
    with pytest.raises(InputError, match=r"config\.yaml"):
        init(breast / "labels.csv", out, slides=breast / "slides")
    assert (out / "config.yaml").read_text() == "mine: true\n"
    init(breast / "labels.csv", out, slides=breast / "slides", force=True)
    assert "tasks" in yaml.safe_load((out / "config.yaml").read_text())


def test_the_defaults_of_the_checkout_are_never_replaced(breast: Path, repository: Path) -> None:
    with pytest.raises(InputError, match=r"PathDuet's config\.yaml"):
        init(breast / "labels.csv", repository, slides=breast / "slides", force=True)


def test_tcga_slides_find_their_patients_by_barcode(tmp_path: Path) -> None:
    patients = [f"TCGA-A{i}-000{i}" for i in range(1, 7)]
    slides_in(tmp_path / "s", *(f"{p}-01Z-00-DX1.ABC{i}.svs" for i, p in enumerate(patients)))
    pd.DataFrame({"sample": [f"{p}-01" for p in patients], "subtype": ["IDC", "ILC"] * 3}).to_excel(
        tmp_path / "l.xlsx", index=False
    )
    text = init(tmp_path / "l.xlsx", tmp_path / "o", slides=tmp_path / "s")
    slides, _ = read_sheets(tmp_path / "o" / "slides.tsv", tmp_path / "o" / "patients.tsv")
    assert [s.patient_id for s in slides] == patients
    assert "'sample' holds the patient ids" in text


def test_a_table_by_slide_takes_its_patients_from_their_column(tmp_path: Path) -> None:
    slides_in(tmp_path / "s", *(f"scan {i}.svs" for i in range(6)))
    lines = [",file,subject,grade,site"] + [
        f"{i},scan {i}.svs,S{i // 2},{'low' if i < 4 else 'high'},x" for i in range(6)
    ]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    text = init(tmp_path / "l.csv", tmp_path / "o", slides=tmp_path / "s")
    slides, patients = read_sheets(tmp_path / "o" / "slides.tsv", tmp_path / "o" / "patients.tsv")
    assert [s.patient_id for s in slides] == ["S0", "S0", "S1", "S1", "S2", "S2"]
    assert patients["grade"].to_dict() == {"S0": "low", "S1": "low", "S2": "high"}
    assert "column 'file' holds the names of the slides, 'subject' the patients" in text
    # one patient of the class high: the entry waits for a decision
    assert "# grade:" not in (tmp_path / "o" / "config.yaml").read_text()
    assert "a class needs 3 patients" in text


def test_names_of_any_script_meet_their_rows(tmp_path: Path) -> None:
    folder = slides_in(
        tmp_path / "s",
        "胶质瘤一.svs",
        "胶质瘤二.svs",
        unicodedata.normalize("NFD", "Fall ä.svs"),
        "Fall ö.svs",
    )
    broken = slides_in(folder, os.fsdecode(b"P\xe4.svs"), "old/scan.vsi")
    (tmp_path / "l.csv").write_text(
        "patient,her2\n胶质瘤一,pos\n胶质瘤二,neg\nFall ä,neg\nFall ö,pos\n", encoding="utf-8"
    )
    text = init(tmp_path / "l.csv", tmp_path / "o", slides=broken)
    slides, patients = read_sheets(tmp_path / "o" / "slides.tsv", tmp_path / "o" / "patients.tsv")
    told = {unicodedata.normalize("NFC", s.path.stem): patients.at[s.patient_id, "her2"] for s in slides}
    assert told == {"胶质瘤一": "pos", "胶质瘤二": "neg", "Fall ä": "neg", "Fall ö": "pos"}
    assert (
        r"P\udce4.svs" in text and "s/old/scan.vsi: Olympus VSI is not readable by any library here" in text
    )


def test_a_dicom_series_is_one_slide_and_found_by_its_folder(tmp_path: Path) -> None:
    for patient, series in (("P1", "1.2.3"), ("P2", "1.2.4")):
        for i in range(3):
            dicom(tmp_path / "s" / patient / f"{i}.dcm", series)
    (tmp_path / "l.csv").write_text("patient,her2\nP1,pos\nP2,neg\n")
    init(tmp_path / "l.csv", tmp_path / "o", slides=tmp_path / "s")
    slides, _ = read_sheets(tmp_path / "o" / "slides.tsv", tmp_path / "o" / "patients.tsv")
    assert {s.slide_id: s.patient_id for s in slides} == {"1.2.3": "P1", "1.2.4": "P2"}
    check_series(slides)
    twice = [SlideRow(f"S{i}", "P1", "c", tmp_path / f"s/P1/{i}.dcm") for i in range(2)]
    with pytest.raises(
        InputError, match=r"slides S0 and S1, path: 0\.dcm and 1\.dcm belong to one DICOM series"
    ):
        check_series(twice)


def test_patients_whose_ids_would_be_one_are_refused(tmp_path: Path) -> None:
    slides_in(tmp_path / "s", "P 1.svs", "P-1.svs")
    (tmp_path / "l.csv").write_text("patient,her2\nP 1,pos\nP-1,neg\n")
    with pytest.raises(InputError, match="'P 1', 'P-1' would all be called p-1"):
        init(tmp_path / "l.csv", tmp_path / "o", slides=tmp_path / "s")


def test_ids_that_match_nothing_are_said_with_both_sides(breast: Path) -> None:
    (breast / "other.csv").write_text("id,her2\nX1,pos\n")
    with pytest.raises(InputError, match=r"P01_HE.*id: X1"):
        init(breast / "other.csv", breast / "run", slides=breast / "slides")
    assert not (breast / "run").exists()


def test_two_columns_that_match_equally_well_need_a_word(tmp_path: Path) -> None:
    slides_in(tmp_path / "s", "A-1-x.svs", "A-2-x.svs")
    (tmp_path / "l.csv").write_text("one,two,label\nA-1,A,p\nA-2,B,n\n")
    text = init(tmp_path / "l.csv", tmp_path / "o", slides=tmp_path / "s", id_column="one")
    assert "column 'one' holds the patient ids" in text
    with pytest.raises(InputError, match="--id-column"):
        init(tmp_path / "l.csv", tmp_path / "o2", slides=tmp_path / "s")
    with pytest.raises(InputError, match="no column 'three'"):
        init(tmp_path / "l.csv", tmp_path / "o2", slides=tmp_path / "s", id_column="three")


def matrix(path: Path, samples: list[str], *, turned: bool = False) -> Path:
    table = pd.DataFrame(
        {s: [i + 0.5, i + 1.5, 2.5] for i, s in enumerate(samples)}, index=["ESR1", "PGR", "MKI67"]
    )
    (table.T if turned else table).to_csv(path, sep="\t", index_label="sample" if turned else "gene_symbol")
    return path


@pytest.mark.parametrize("turned", [False, True])
def test_expression_is_taken_either_way_round_once_its_unit_is_said(breast: Path, turned: bool) -> None:
    table = matrix(breast / "m.tsv", [f"P{i:02d}" for i in range(3, 26)], turned=turned)
    text = init(breast / "labels.csv", breast / "no", slides=breast / "slides", expression=table)
    assert "its unit is not given" in text
    assert resolve(read(breast / "no" / "config.yaml"))["expression"]["tables"] == []
    text = init(breast / "labels.csv", breast / "o", slides=breast / "slides", expression=table, unit="tpm")
    assert "23 of them of 23 patients" in text
    (entry,) = resolve(read(breast / "o" / "config.yaml"))["expression"]["tables"]
    assert Path(entry["path"]).is_file() and entry["unit"] == "tpm"
    # P25 has expression alone
    assert len(pd.read_csv(breast / "o" / "patients.tsv", sep="\t")) == 25


def test_without_slides_samples_find_their_patients(tmp_path: Path) -> None:
    pd.DataFrame({"Sample": [f"G{i}" for i in range(8)], "Patient ID": [f"P{i}" for i in range(8)],
                  "response": ["yes", "no"] * 4}).to_csv(tmp_path / "l.csv", index=False)  # fmt: skip
    table = matrix(tmp_path / "m.tsv", [f"G{i}" for i in range(8)])
    result = CliRunner().invoke(
        app,
        [
            "init",
            "--labels",
            str(tmp_path / "l.csv"),
            "--expression",
            str(table),
            "--unit",
            "tpm",
            "--out",
            str(tmp_path / "o"),
        ],
    )
    assert result.exit_code == 0, result.output
    config = resolve(read(tmp_path / "o" / "config.yaml"))
    assert config["sheets"]["slides"] is None and not (tmp_path / "o" / "slides.tsv").exists()
    samples = pd.read_csv(config["expression"]["tables"][0]["samples"], sep="\t")
    assert samples["patient_id"].tolist() == [f"P{i}" for i in range(8)]


def test_cohorts_of_the_table_are_kept_apart(tmp_path: Path) -> None:
    slides_in(tmp_path / "s", *(f"P{i}.svs" for i in range(8)))
    lines = ["patient,cohort,label"] + [
        f"P{i},{'ours' if i < 6 else 'theirs'},{'ab'[i % 2]}" for i in range(8)
    ]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    words = ["init", "--slides", tmp_path / "s", "--labels", tmp_path / "l.csv", "--out", tmp_path / "o"]
    assert CliRunner().invoke(app, list(map(str, words))).exit_code == 0
    assert resolve(read(tmp_path / "o" / "config.yaml"))["cohorts"] == {
        "internal": ["ours", "theirs"],
        "external": [],
    }
