"""IvyGAP, CPTAC and plain tables become sheets that a run accepts; refused rows are named with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pathduet.cli import app
from pathduet.cohort.folds import write_folds
from pathduet.cohort.labels import task_labels
from pathduet.cohort.make_folds import import_folds
from pathduet.cohort.sheets import read_patients, read_slides
from pathduet.cohort.tasks import Task
from pathduet.core.config import resolve
from pathduet.core.errors import InputError
from pathduet.expression.tables import read_expression
from pathduet.importers.clinical_values import read_table, read_values
from pathduet.importers.cptac import import_cptac
from pathduet.importers.ivygap import closeness, import_ivygap, specimen
from pathduet.importers.report import ImportReport
from pathduet.importers.table import import_table

SAMPLE_COLUMNS = ("tumor_id,tumor_name,block_id,block_name,specimen_id,specimen_name,rna_well_id,polygon_id,"
                  "structure_id,structure_abbreviation,structure_color,structure_name\n")  # fmt: skip


def dropped(out: Path, cohort: str) -> pd.DataFrame:
    return pd.read_csv(out / f"import_{cohort}_dropped.tsv", sep="\t", keep_default_na=False).set_index(
        "name"
    )


def archive(folder: Path) -> Path:
    """The RNA archive's three tables (columns as its README lists them) and the atlas's tumour details."""
    folder.mkdir()
    wells = {
        "305273026": ("W1-1-2", "W1-1-2-A.1", "W1-1-2-A.1.01"),
        "305273027": ("W1-1-2", "W1-1-2-A.1", "W1-1-2-A.1.02"),
        "305273028": ("W1-1-2", "W1-1-2-G.2", "W1-1-2-G.2.01"),
        "305273029": ("W10-1-1", "W10-1-1-B.2", "W10-1-1-B.2.01"),
    }
    rows = [
        f"27,{tumor},28,{block},29,{name},{well},30,31,CTmvp,FF5A00,Microvascular proliferation\n"
        for well, (tumor, block, name) in wells.items()
    ]
    (folder / "columns-samples.csv").write_text(SAMPLE_COLUMNS + "".join(rows))
    genes = "gene_id,chromosome,gene_entrez_id,gene_symbol,gene_name\n"
    genes += '499304660,17,7157,TP53,tumor protein p53\n499304661,5,9232,PTTG1,"pituitary, transforming 1"\n'
    genes += "499304662,21,3460,,interferon gamma receptor 2\n"
    (folder / "rows-genes.csv").write_text(genes)
    table = '"gene_id \\ rna_well_id",' + ",".join(wells) + ",305279999\n"
    table += "499304660,1.5,2.5,3.5,4.5,9\n499304661,0,1,2,3,9\n499304662,7.25,8,9,10,9\n"
    (folder / "fpkm_table.csv").write_text(table)
    details = "donor_id,tumor_name,molecular_subtype,extent_of_resection,surgery,survival_days,age_in_years\n"
    details += (
        "1,W1-1-2,Classical,Complete,primary,442,44 yrs\n2,W10-1-1,Proneural,Complete,recurrent,,57 yrs\n"
    )
    (folder / "tumor_details.csv").write_text(details)
    return folder


def test_several_samples_of_a_tumour_meet_the_slides_of_their_block(tmp_path: Path) -> None:
    slides = tmp_path / "slides"
    slides.mkdir()
    for name in ("W1-1-2-A.1.02_HE", "W1-1-2-A.3.01_HE", "W10-1-1-C.1.01_HE", "notes"):
        (slides / f"{name}.svs").write_bytes(b"x")
    out = tmp_path / "out"
    import_ivygap(out, archive(tmp_path / "ivy"), slides=slides, assume_died=True)
    table = read_expression(out / "expression_ivygap.h5ad", "fpkm", "ivygap", out / "samples_ivygap.tsv")
    own = table.samples
    assert own["patient_id"].tolist() == ["W1-1-2"] * 3 + ["W10-1-1"]
    # .01 and .02 of A.1: the specimen itself, or its sub-block; block G and tumour W10-1-1's block B have no slide
    assert own["slide_id"].tolist() == ["W1-1-2-A.1.02_HE", "W1-1-2-A.1.02_HE", "", ""]
    assert table.values.loc["IFNGR2"].tolist() == [7.25, 8, 9, 10]
    assert {s.slide_id for s in read_slides(out / "slides.tsv")} == {"W1-1-2-A.1.02_HE", "W1-1-2-A.3.01_HE", "W10-1-1-C.1.01_HE"}  # fmt: skip
    patients = read_patients(out / "patients.tsv")
    columns = ["survival_days", "event", "age_years", "grade"]
    assert patients.loc["W1-1-2", columns].tolist() == ["442.0", "1", "44.0", "G4"]
    lost = dropped(out, "ivygap")
    assert "no specimen name" in lost.loc["notes.svs", "reason"]
    assert "no row in columns-samples.csv" in lost.loc["305279999", "reason"]


def test_survival_without_vital_status_is_left_out_unless_said_otherwise(tmp_path: Path) -> None:
    out = tmp_path / "out"
    import_ivygap(out, archive(tmp_path / "ivy"))
    assert "survival_days" not in read_patients(out / "patients.tsv")
    assert dropped(out, "ivygap").loc["W1-1-2.survival", "reason"] == "event missing"


def test_an_archive_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    folder = archive(tmp_path / "ivy")
    (folder / "rows-genes.csv").unlink()
    with pytest.raises(InputError, match=r"lacks rows-genes\.csv"):
        import_ivygap(tmp_path / "out", folder)


def test_closeness_counts_shared_parts_from_the_left() -> None:
    a, b = specimen("slide W10-1-1-B.2.01.svs"), specimen("W10-1-1-B.2.02")
    assert a == ("W10-1-1", "B", "2", "01")
    assert a is not None and b is not None
    assert closeness(a, b) == 3
    assert closeness(a, ("W10-1-1", "C", "2", "01")) == 1
    assert specimen("CMU-1") is None


@pytest.mark.data
def test_the_real_sub_block_details_give_42_tumours(test_data: Path, tmp_path: Path) -> None:
    report = import_ivygap(tmp_path, test_data / "tables_ivygap", assume_died=True)
    patients = read_patients(tmp_path / "patients.tsv")
    source = pd.read_csv(test_data / "tables_ivygap" / "sub_block_details.csv").drop_duplicates("tumor_name")
    source = source.set_index("tumor_name").sort_index()
    assert len(patients) == 42
    found = patients.sort_index()["survival_days"].astype(float)
    pd.testing.assert_series_equal(found, source["survival_days"].astype(float), check_names=False)
    assert {(k, r): n for k, r, n in report.reasons()} == {("value", "survival_days and event missing"): 10}


@pytest.mark.data
def test_the_real_cptac_sheet_refuses_three_patients_by_row(test_data: Path, tmp_path: Path) -> None:
    clinical = test_data / "tables_cptac" / "CPTAC.xlsx"
    result = CliRunner().invoke(app, ["import", "cptac", str(clinical), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    lost = dropped(tmp_path, "cptac")
    refused = lost[lost["reason"] == "survival is not above 0 days"]
    source = pd.read_excel(clinical)
    bad = source[source["OS"] <= 0].drop_duplicates("Patient ID").set_index("Patient ID")
    assert sorted(refused.index) == sorted(bad.index)
    assert len(bad) == 3
    for patient, where in refused["where"].items():
        row = int(str(where).split()[-1])
        assert source.iloc[row - 2]["Patient ID"] == patient
    patients = read_patients(tmp_path / "patients.tsv")
    assert len(patients) == 77
    assert not set(bad.index) & set(patients.index)
    days = source.drop_duplicates("Patient ID").set_index("Patient ID")["OS"]
    assert (patients["survival_days"].astype(float) == days.loc[patients.index]).all()
    import_cptac(tmp_path / "all", clinical, keep_without_survival=True)
    kept = read_patients(tmp_path / "all" / "patients.tsv")
    assert len(kept) == 81
    assert kept.loc[bad.index, "survival_days"].isna().all()


def test_cptac_matches_aliquots_and_slide_files_to_cases(tmp_path: Path) -> None:
    pd.DataFrame(
        {"Patient ID": ["C3L-00104", "C3L-00104", "C3N-01369"], "WSI_ID": ["C3L-00104-21", "C3L-00104-22", "C3N-01369-21"],
         "IDH status": ["WT", "WT", "wildtype"], "event": [1, 1, 0], "OS": [128, 128, 300]}
    ).to_excel(tmp_path / "c.xlsx", index=False)  # fmt: skip
    (tmp_path / "rna.tsv").write_text(
        "gene_name\tC3L-00104-01\tC3N-01369\tC3L-001049\nTP53\t1.5\t2\t3\nEGFR\t2\t3.5\t4\n"
    )
    (tmp_path / "wsi").mkdir()
    for name in ("C3L-00104-21", "C3N-01369-21"):
        (tmp_path / "wsi" / f"{name}.svs").write_bytes(b"x")
    out = tmp_path / "out"
    import_cptac(
        out, tmp_path / "c.xlsx", expression=tmp_path / "rna.tsv", unit="tpm", slides=tmp_path / "wsi"
    )
    samples = pd.read_csv(out / "samples_cptac.tsv", sep="\t", keep_default_na=False)
    assert samples.to_numpy().tolist() == [["C3L-00104-01", "C3L-00104", ""], ["C3N-01369", "C3N-01369", ""]]
    assert [s.slide_id for s in read_slides(out / "slides.tsv")] == ["C3L-00104-21", "C3N-01369-21"]
    lost = dropped(out, "cptac")
    assert lost.loc["C3L-00104-22", "reason"] == "no such file in the folder of slides"
    assert lost.loc["C3L-001049", "kind"] == "sample"
    assert read_patients(out / "patients.tsv")["idh"].tolist() == ["WT", "WT"]


@pytest.mark.parametrize(
    ("column", "cell", "name", "expected"),
    [
        ("IDH.status", "wild-type", "idh", "WT"),
        ("1p/19q codeletion", "non-codel", "codel_1p19q", "non-codel"),
        ("X1p.19q.codeletion", "codel", "codel_1p19q", "codel"),
        ("WHO grade", "Grade III", "grade", "G3"),
        ("demographic.gender", "FEMALE", "sex", "female"),
        ("Age (years at diagnosis)", "63.5", "age_years", 63.5),
        ("age_at_diagnosis", "23288", "age_years", 63.76),
    ],
)
def test_the_spellings_of_published_tables_are_understood(
    column: str, cell: str, name: str, expected: object
) -> None:
    table = pd.DataFrame({"Patient": ["P1"], column: [cell]})
    report = ImportReport("x")
    assert read_values(table, "t", report)["P1"] == {name: expected}
    assert not report.dropped


@pytest.mark.parametrize("cell", ["G5", "high", "nan nan", "IV-V"])
def test_what_cannot_be_understood_stays_unknown_and_is_named(cell: str) -> None:
    report = ImportReport("x")
    table = pd.DataFrame({"patient": ["P1", "P2"], "grade": [cell, "G1"]}, index=[2, 3])
    assert read_values(table, "t.csv", report) == {"P1": {}, "P2": {"grade": "G1"}}
    assert [(d.name, d.where, d.found) for d in report.dropped] == [("P1.grade", "t.csv row 2", cell)]


def test_a_column_of_which_nothing_is_understood_is_one_of_its_own() -> None:
    report = ImportReport("x")
    table = pd.DataFrame({"patient": ["P1", "P2"], "grade": ["high", "low"], "Status": ["HER2+", "HER2-"]})
    assert read_values(table, "t.csv", report)["P2"] == {"grade": "low", "Status": "HER2-"}
    assert not report.dropped


def test_every_further_column_comes_along(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        ";Case;ER status;Ki67;Gender;OS.time;OS;slide_id;note\n"
        "0;P1;positive;12.5;F;1000;1;S1;a\n1;P1;positive;12.5;F;1000;1;S2;b\n2;P2;negative;NA;M;0;0;S3;\n"
    )
    report = import_table(tmp_path / "o", tmp_path / "p.csv", cohort="c")
    patients = read_patients(tmp_path / "o" / "patients.tsv")
    assert patients.columns.tolist() == ["cohort", "sex", "survival_days", "event", "ER status", "Ki67"]
    assert patients["ER status"].tolist() == ["positive", "negative"]
    assert patients["Ki67"].tolist() == ["12.5", None]
    assert "Gender as sex" in report.text() and "not used: slide_id" in report.text()
    assert dropped(tmp_path / "o", "c").loc["P1.further", "found"] == "note"


def test_two_cohorts_with_columns_of_their_own_share_a_sheet(tmp_path: Path) -> None:
    for name, column in (("a", "her2"), ("b", "stage")):
        (tmp_path / f"{name}.tsv").write_text(f"patient\t{column}\n{name}1\tII\n")
        import_table(tmp_path / "o", tmp_path / f"{name}.tsv", cohort=name)
    patients = read_patients(tmp_path / "o" / "patients.tsv")
    assert patients.loc["a1", ["her2", "stage"]].tolist() == ["II", None]
    assert patients.loc["b1", ["her2", "stage"]].tolist() == [None, "II"]


def test_a_row_with_more_cells_than_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("patient,note\nP1,a, b\n")
    with pytest.raises(InputError, match=r"p\.csv row 2"):
        import_table(tmp_path / "o", tmp_path / "p.csv", cohort="c")


@pytest.mark.parametrize("cell", ["", "NA", "'--", "[Not Available]", "Not Reported", "--"])
def test_missing_markers_are_missing_without_a_word(cell: str) -> None:
    report = ImportReport("x")
    assert read_values(pd.DataFrame({"patient": ["P1"], "sex": [cell]}), "t.csv", report)["P1"] == {}
    assert not report.dropped


def test_a_table_with_its_own_column_names_and_an_array_matrix_with_samples_in_rows(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text(
        "Sample\tsurvival\tstatus\tAge\nS1\t10.5\t1\t50\nS2\t3\t0\t60\nS3\t7\t1\t70\n"
    )
    (tmp_path / "e.tsv").write_text(
        "Sample\tTP53\tHLA.A\tFLAT\nS1\t5.5\t1\t2\nS2\t6.5\t3\t2\nS3\t7.5\t8\t2\n"
    )
    result = CliRunner().invoke(
        app,
        ["import", "table", str(tmp_path / "p.tsv"), "--out", str(tmp_path / "o"), "--cohort", "arr", "--column",
         "patient_id=Sample", "--column", "survival_months=survival", "--expression", str(tmp_path / "e.tsv"),
         "--samples-in-rows", "--standardise"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    table = read_expression(
        tmp_path / "o" / "expression_arr.h5ad", "zscore", "arr", tmp_path / "o" / "samples_arr.tsv"
    )
    np.testing.assert_allclose(table.values.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(table.values.std(axis=1, ddof=0), 1)
    assert list(table.values.index) == ["HLA-A", "TP53"]
    patients = read_patients(tmp_path / "o" / "patients.tsv")
    assert patients["survival_days"].tolist() == ["319.59", "91.31", "213.06"]


def test_a_table_import_checks_slides_samples_and_the_unit(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("patient_id\tage\nP1\t50\nP2\t60\n")
    (tmp_path / "e.csv").write_text("symbol,S1,S2,S9\nTP53,1.5,2,3\n")
    (tmp_path / "s.tsv").write_text("sample_id\tpatient_id\nS1\tP1\nS2\tP9\n")
    (tmp_path / "a.svs").write_bytes(b"x")
    (tmp_path / "slides.tsv").write_text(
        "slide_id\tpatient_id\tpath\nA\tP1\ta.svs\nB\tP2\tb.svs\nC\tP7\ta.svs\n"
    )
    options = {
        "expression": tmp_path / "e.csv",
        "samples": tmp_path / "s.tsv",
        "slides": tmp_path / "slides.tsv",
    }
    with pytest.raises(InputError, match="--unit"):
        import_table(tmp_path / "o", tmp_path / "p.tsv", cohort="c", **options)  # type: ignore[arg-type]
    import_table(tmp_path / "o", tmp_path / "p.tsv", cohort="c", unit="tpm", **options)  # type: ignore[arg-type]
    lost = dropped(tmp_path / "o", "c")
    assert lost["reason"].to_dict() == {
        "S2": "its patient was not imported",
        "S9": "no patient of this id was imported",
        "B": "no such file",
        "C": "its patient was not imported",
    }
    assert [s.slide_id for s in read_slides(tmp_path / "o" / "slides.tsv")] == ["A"]


@pytest.mark.data
def test_published_folds_load_and_hold_every_patient_once(test_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "folds.tsv"
    source = test_data / "tables_tcga" / "porpoise_5fold"
    result = CliRunner().invoke(app, ["splits", "import", str(source), "--out", str(out)])
    assert result.exit_code == 0, result.output
    folds = pd.read_csv(out, sep="\t").set_index("patient_id")["fold"]
    patients = pd.DataFrame({"cohort": "tcga"}, index=folds.index)
    checked = import_folds(out, patients, pd.Series(None, index=folds.index, dtype=object), folds.nunique())
    assert checked["fold"].value_counts().sort_index().tolist() == [114, 114, 114, 114, 113]
    for k in range(5):
        listed = pd.read_csv(source / f"splits_{k}.csv")
        assert set(folds.index[folds == k]) == set(listed["val"].dropna())
        assert set(folds.index[folds != k]) == set(listed["train"].dropna())
    write_folds(tmp_path / "mine.tsv", checked)
    result = CliRunner().invoke(
        app, ["splits", "export", str(tmp_path / "mine.tsv"), "--out", str(tmp_path / "back")]
    )
    assert result.exit_code == 0, result.output
    for k in range(5):
        ours, theirs = (
            pd.read_csv(tmp_path / "back" / f"splits_{k}.csv"),
            pd.read_csv(source / f"splits_{k}.csv"),
        )
        assert list(ours.columns) == list(theirs.columns)
        assert set(ours["val"].dropna()) == set(theirs["val"].dropna())


@pytest.mark.data
def test_who_labels_agree_with_a_published_table_under_its_rule(test_data: Path, tmp_path: Path) -> None:
    """The table's numbers have no legend: 5 is glioblastoma and so on as the facts of each group say, all or none."""
    source = read_table(test_data / "tables_tcga" / "deepmo_merge_who.xlsx")
    facts = read_values(source, "who.xlsx", ImportReport("x"))
    patients = pd.DataFrame.from_dict(facts, orient="index").reindex(
        columns=["idh", "codel_1p19q", "cdkn2a", "grade"]
    )
    diagnosis = resolve({"preset": "glioma"})["tasks"]["diagnosis"] | {"column": ""}
    number = source.drop_duplicates("Patient ID").set_index("Patient ID")["label_2021"].loc[patients.index]
    meaning = {"5": "glioblastoma", "4": "astrocytoma_grade4", "3": "astrocytoma_low_grade", "2": "astrocytoma_low_grade",
               "1": "oligodendroglioma", "0": "oligodendroglioma"}  # fmt: skip
    theirs = number.map(meaning)
    agreement = {
        rule: task_labels(patients, Task.of("diagnosis", diagnosis | {"derive": {"name": "who2021", "cdkn2a_rule": rule}}))["label"]
        for rule in ("any_loss", "homozygous")
    }  # fmt: skip
    assert len(patients) == 940
    confusion = pd.crosstab(theirs, agreement["any_loss"])
    assert np.trace(confusion.to_numpy()) == 940
    differ = agreement["homozygous"] != theirs
    assert int(differ.sum()) == 71
    # all of these: a single-copy loss, which counts under the table's rule alone
    assert set(theirs[differ]) == {"astrocytoma_grade4"}
    assert set(agreement["homozygous"][differ]) == {"astrocytoma_low_grade"}
    assert set(patients.loc[differ, "cdkn2a"]) == {-1.0}
