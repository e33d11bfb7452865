"""TCGA downloads become sheets that a run accepts; every file and patient is kept or named with a reason."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pathduet.cohort.sheets import read_patients, read_sheets
from pathduet.cohort.tcga_barcode import parse_barcode
from pathduet.core.config import resolve
from pathduet.core.errors import InputError
from pathduet.expression.tables import read_expression
from pathduet.importers.star_counts import QUANTITIES
from pathduet.importers.tcga import import_tcga

from .gdc_folder import GENES, GdcFolder, star_table

A, B = "TCGA-06-0125", "TCGA-DU-7010"
GDC_CLINICAL = (
    "case_id\tcase_submitter_id\tproject_id\tage_at_index\tdays_to_death\tgender\tvital_status\tage_at_diagnosis"
    "\tdays_to_last_follow_up\tprimary_diagnosis\ttumor_grade\ttreatment_type\n"
    f"u1\t{A}\tTCGA-GBM\t63\t1448\tfemale\tDead\t23288\t1400\tGlioblastoma\tG4\tRadiation Therapy, NOS\n"
    f"u1\t{A}\tTCGA-GBM\t63\t1448\tfemale\tDead\t23288\t1400\tGlioblastoma\tG4\tPharmaceutical Therapy, NOS\n"
    f"u2\t{B}\tTCGA-LGG\t58\t'--\tmale\tAlive\t21200\t912\tAstrocytoma, anaplastic\t'--\tRadiation Therapy, NOS\n"
)


def dropped(out: Path, cohort: str = "tcga") -> pd.DataFrame:
    return pd.read_csv(out / f"import_{cohort}_dropped.tsv", sep="\t", keep_default_na=False)


@pytest.fixture
def download(tmp_path: Path) -> GdcFolder:
    folder = GdcFolder(tmp_path)
    folder.expression(f"{A}-01A-01R-1849-01", star_table([10, 20, 30, 40, 0, 50]))
    folder.expression(f"{B}-01A-11R-1896-07", star_table([11, 21, 31, 41, 0, 51]), gz=True)
    folder.slide(f"{A}-01Z-00-DX1")
    folder.slide(f"{A}-01A-01-TS1")
    folder.slide(f"{B}-01Z-00-DX1")
    folder.slide(f"{B}-02Z-00-DX1")
    (folder.root.parent / "clinical.tsv").write_text(GDC_CLINICAL)
    return folder


def run(folder: GdcFolder, **options: object) -> Path:
    folder.write()
    out = folder.root.parent / "sheets"
    base = folder.root.parent
    options = {"sample_sheet": folder.sheet, "clinical": [base / "clinical.tsv"], **options}
    import_tcga(out, downloads=folder.root, **options)  # type: ignore[arg-type]
    return out


def test_a_download_becomes_sheets_that_a_run_accepts(download: GdcFolder) -> None:
    out = run(download)
    slides, patients = read_sheets(out / "slides.tsv", out / "patients.tsv", ["tcga"])
    assert [s.patient_id for s in slides] == [A, B]
    assert all(s.path.is_absolute() and s.path.is_file() for s in slides)
    assert [s.site for s in slides] == ["06", "DU"]
    columns = ["survival_days", "event", "age_years", "grade", "sex"]
    assert patients.loc[A, columns].tolist() == ["1448.0", "1", "63.0", "G4", "female"]
    assert patients.loc[B, ["survival_days", "event"]].tolist() == ["912.0", "0"]
    # further columns come along; what a patient's rows disagree about does not
    assert patients["project_id"].tolist() == ["TCGA-GBM", "TCGA-LGG"]
    assert patients.loc[A, "treatment_type"] is None
    assert patients.loc[B, "grade"] is None
    reasons = dict(zip(dropped(out)["name"].str[:23], dropped(out)["reason"]))
    assert "frozen section" in reasons[f"{A}-01A-01-TS1"]
    assert "recurrent solid tumor" in reasons[f"{B}-02Z-00-DX1"]


@pytest.mark.parametrize(
    ("quantity", "factor"), [("counts", 1.0), ("tpm", 2.25), ("fpkm", 0.5), ("fpkm_uq", 0.25)]
)
def test_the_quantity_asked_for_is_read_by_gene_id(download: GdcFolder, quantity: str, factor: float) -> None:
    shuffled = [GENES[i] for i in (5, 3, 0, 1, 2, 4)]
    download.expression("TCGA-HT-7470-01A-11R-2027-07", star_table([5, 4, 1, 2, 3, 0], shuffled))
    out = run(download, quantity=quantity)
    unit = QUANTITIES[quantity][1]
    table = read_expression(out / "expression_tcga.h5ad", unit, "tcga", out / "samples_tcga.tsv")
    assert table.samples["patient_id"].tolist() == [A, B, "TCGA-HT-7470"]
    genes = ["TP53", "PTTG1", "IFNGR2", "EGFR", "CD99"]
    expected = np.array([[10, 20, 30, 40, 50], [11, 21, 31, 41, 51], [1, 2, 3, 4, 5]]).T * factor
    np.testing.assert_allclose(table.values.loc[genes].to_numpy(), expected, rtol=1e-6)


def test_the_choice_among_aliquots_is_stated_and_the_others_are_named(download: GdcFolder) -> None:
    values = {
        "01B-01R-9999-01": 1,
        "01A-01T-9999-01": 2,
        "01A-01R-2027-07": 3,
        "02A-01R-9999-01": 4,
        "11A-01R-9999-01": 5,
    }
    for rest, value in values.items():
        download.expression(f"{A}-{rest}", star_table([value] * 5 + [1]))
    out = run(download, sample_sheet=None, metadata=download.metadata)
    table = read_expression(out / "expression_tcga.h5ad", "tpm", "tcga", out / "samples_tcga.tsv")
    assert table.values[f"{A}-01A-01R-2027-07"]["TP53"] == 6.75
    lost = dropped(out)
    lost = lost[lost["kind"] == "sample"].set_index("name")
    others = [f"{A}-01A-01R-1849-01", f"{A}-01B-01R-9999-01", f"{A}-01A-01T-9999-01"]
    assert (lost.loc[others, "reason"] == "another aliquot of the patient was used").all()
    assert lost.loc[others, "found"].str.startswith(f"{A}-01A-01R-2027-07").all()
    assert "recurrent" in lost.loc[f"{A}-02A-01R-9999-01", "reason"]
    assert "normal" in lost.loc[f"{A}-11A-01R-9999-01", "reason"]
    assert any(
        "latest plate" in rule for rule in json.loads((out / "import_tcga.json").read_text())["choices"]
    )


def test_files_that_are_cut_short_or_of_another_gene_model_are_left_out_with_the_reason(
    download: GdcFolder,
) -> None:
    whole = star_table([1, 2, 3, 4, 5, 6])
    download.expression("TCGA-02-0047-01A-01R-1849-01", whole[: len(whole) - 60])
    download.expression("TCGA-02-0055-01A-01R-1849-01", star_table([1, 2], GENES[:2]))
    download.expression("TCGA-02-2483-01A-01R-1849-01", "no table at all")
    out = run(download)
    reasons = dropped(out).set_index("name")["reason"]
    assert "not the genes of the other files" in reasons["TCGA-02-0055-01A"]
    assert "not an augmented STAR-counts table" in reasons["TCGA-02-2483-01A"]
    assert "TCGA-02-0047-01A" in reasons
    assert read_patients(out / "patients.tsv").index.tolist() == [A, B]


def test_expression_without_a_sample_sheet_is_refused_with_the_way_out(download: GdcFolder) -> None:
    with pytest.raises(InputError, match="sample-sheet"):
        run(download, sample_sheet=None)


def test_biotab_files_are_read_below_their_three_header_lines(download: GdcFolder) -> None:
    biotab = download.root.parent / "nationwidechildrens.org_clinical_patient_gbm.txt"
    names = ["bcr_patient_uuid", "bcr_patient_barcode", "gender", "vital_status", "last_contact_days_to", "death_days_to",
             "age_at_initial_pathologic_diagnosis", "tumor_grade", "histologic_diagnosis"]  # fmt: skip
    rows = [
        names,
        names,
        ["CDE_ID:", "CDE_ID:2003301", "CDE_ID:2200604", "CDE_ID:5", "CDE_ID:3008273", "CDE_ID:3165475", "CDE_ID:2006657",
         "CDE_ID:2785839", "CDE_ID:3081934"],
        ["X", A, "FEMALE", "Dead", "[Not Available]", "1448", "63", "[Not Available]", "Untreated primary (de novo) GBM"],
        ["Y", B, "MALE", "Alive", "912", "[Not Applicable]", "58", "G3", "Astrocytoma"],
    ]  # fmt: skip
    biotab.write_text("".join("\t".join(row) + "\n" for row in rows))
    patients = read_patients(run(download, clinical=[biotab]) / "patients.tsv")
    columns = ["survival_days", "event", "age_years", "sex"]
    assert patients.loc[A, columns].tolist() == ["1448.0", "1", "63.0", "female"]
    assert patients.loc[B, ["survival_days", "event", "grade"]].tolist() == ["912.0", "0", "G3"]


def test_contradicting_rows_of_a_patient_leave_the_fact_unknown(download: GdcFolder) -> None:
    (download.root.parent / "clinical.tsv").write_text(
        GDC_CLINICAL.replace("63\t1448\tfemale", "63\t1448\tmale", 1)
    )
    out = run(download)
    assert read_patients(out / "patients.tsv").loc[A, "sex"] is None
    assert "differ in sex" in dropped(out).set_index("name").loc[f"{A}.sex", "reason"]


KIRC, KIRC_2 = "TCGA-B0-4710", "TCGA-3Z-A93Z"


@pytest.fixture
def kidney(tmp_path: Path) -> GdcFolder:
    """Slides of three patients of a project that is no glioma, and the endpoints of TCGA-CDR, which lists others, too."""
    folder = GdcFolder(tmp_path)
    for patient in (KIRC, KIRC_2):
        folder.slide(f"{patient}-01Z-00-DX1")
    folder.slide("TCGA-D3-A8GP-06Z-00-DX1")
    folder.write()
    names = ["", "bcr_patient_barcode", "type", "gender", "ajcc_pathologic_tumor_stage", "histological_grade",
             "vital_status", "OS", "OS.time", "DSS", "DSS.time", "DFI", "DFI.time", "PFI", "PFI.time"]  # fmt: skip
    rows = [
        ["1", KIRC, "KIRC", "MALE", "Stage IV", "G4", "Dead", 1, 51, 1, 51, "#N/A", "#N/A", 1, 0],
        ["2", KIRC_2, "KIRC", "FEMALE", "Stage I", "G1", "Alive", 0, 385, 0, 385, 0, 385, 0, 385],
        ["3", "TCGA-D3-A8GP", "SKCM", "MALE", "", "", "Alive", 0, 99, 0, 99, "", "", 1, 98],
        ["4", "TCGA-OR-A5J1", "ACC", "MALE", "Stage II", "", "Dead", 1, 1355, 1, 1355, 1, 754, 1, 754],
    ]
    pd.DataFrame(rows, columns=names).to_excel(tmp_path / "TCGA-CDR.xlsx", index=False)
    return folder


def test_any_project_has_the_endpoints_of_its_table(kidney: GdcFolder, tmp_path: Path) -> None:
    out = tmp_path / "sheets"
    import_tcga(out, cohort="kirc", downloads=kidney.root, endpoints=tmp_path / "TCGA-CDR.xlsx")
    patients = read_patients(out / "patients.tsv")
    assert patients.index.tolist() == [KIRC_2, KIRC]
    columns = [
        "os_days",
        "os_event",
        "dss_days",
        "dfi_days",
        "pfi_days",
        "pfi_event",
        "survival_days",
        "event",
    ]
    assert patients.loc[KIRC, columns].tolist() == ["51.0", "1", "51.0", None, None, None, "51.0", "1"]
    assert patients.loc[KIRC_2, columns[3:6]].tolist() == ["385.0", "385.0", "0"]
    assert patients["ajcc_pathologic_tumor_stage"].tolist() == ["Stage I", "Stage IV"]
    assert patients["grade"].tolist() == ["G1", "G4"]
    lost = dropped(out, "kirc").set_index("name")
    assert lost.loc[f"{KIRC}.pfi", "reason"] == "pfi: time not above 0, or event neither 0 nor 1"
    assert lost.loc[lost["kind"] == "slide", "reason"].tolist() == ["another sample type: metastatic"]


def test_rows_of_one_patient_that_differ_in_an_endpoint_leave_it_unknown(
    kidney: GdcFolder, tmp_path: Path
) -> None:
    rows = [f"{KIRC}-01\t1\t51\t0\t50", f"{KIRC}-02\t1\t51\t1\t700", f"{KIRC}-05\t1\t51\t1\t900"]
    (tmp_path / "e.tsv").write_text("patient\tOS\tOS.time\tPFI\tPFI.time\n" + "\n".join(rows) + "\n")
    import_tcga(tmp_path / "o", cohort="kirc", downloads=kidney.root, endpoints=tmp_path / "e.tsv")
    patients = read_patients(tmp_path / "o" / "patients.tsv")
    assert patients.loc[KIRC, ["os_days", "survival_days", "event"]].tolist() == ["51.0", "51.0", "1"]
    assert "pfi_days" not in patients
    lost = dropped(tmp_path / "o", "kirc").set_index("name")
    assert lost.loc[f"{KIRC}.pfi", "reason"] == "pfi: rows give different times of the event"


def test_metastases_are_taken_where_they_are_asked_for(kidney: GdcFolder, tmp_path: Path) -> None:
    out = tmp_path / "sheets"
    import_tcga(out, downloads=kidney.root, sample_type=["06"])
    assert read_patients(out / "patients.tsv").index.tolist() == ["TCGA-D3-A8GP"]


def test_a_table_without_endpoints_is_refused(kidney: GdcFolder, tmp_path: Path) -> None:
    (tmp_path / "e.tsv").write_text(f"bcr_patient_barcode\tOS\n{KIRC}\t1\n")
    with pytest.raises(InputError, match=r"OS with OS\.time"):
        import_tcga(tmp_path / "sheets", downloads=kidney.root, endpoints=tmp_path / "e.tsv")


def test_two_cohorts_share_a_folder_and_importing_again_changes_nothing(
    download: GdcFolder, tmp_path: Path
) -> None:
    out = run(download)
    first = {p.name: p.read_bytes() for p in out.iterdir()}
    patient = "TCGA-HT-7470"
    other = GdcFolder(tmp_path / "other")
    other.expression(f"{patient}-01A-11R-2027-07", star_table([1, 2, 3, 4, 5, 6]))
    other.write()
    import_tcga(out, cohort="more", downloads=other.root, sample_sheet=other.sheet)
    assert read_patients(out / "patients.tsv")["cohort"].to_dict() == {A: "tcga", B: "tcga", patient: "more"}
    config = yaml.safe_load((out / "cohorts.yaml").read_text())
    assert [table["cohort"] for table in config["expression"]["tables"]] == ["more", "tcga"]
    complete = resolve(config)
    assert complete["cohorts"] == {"internal": ["tcga", "more"], "external": []}
    assert (complete["encoder"]["name"], complete["model"]["tokens"]) == ("resnet50", 2500)
    assert "demo" not in yaml.safe_dump(complete) and "phantom" not in yaml.safe_dump(complete)
    run(download)
    assert read_patients(out / "patients.tsv")["cohort"].to_dict() == {A: "tcga", B: "tcga", patient: "more"}
    shutil.rmtree(out)
    run(download)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == first


def test_a_patient_of_two_cohorts_is_refused(download: GdcFolder) -> None:
    run(download)
    with pytest.raises(InputError, match="is already in row"):
        run(download, cohort="again")


def test_a_cbioportal_study_keeps_one_primary_sample_a_patient(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    comments = "#Patient\tStatus\n#x\ty\n#STRING\tSTRING\n#1\t1\n"
    (study / "data_clinical_patient.txt").write_text(
        comments.replace("Status", "Status\tMonths\tAge\tSex")
        + "PATIENT_ID\tOS_STATUS\tOS_MONTHS\tAGE\tSEX\n"
        + f"{A}\t1:DECEASED\t10\t63\tFemale\n{B}\t0:LIVING\t0\t58\tMale\n"
    )
    (study / "data_clinical_sample.txt").write_text(
        comments + f"PATIENT_ID\tSAMPLE_ID\tGRADE\n{A}\t{A}-01\tG4\n{B}\t{B}-01\tG3\n"
    )
    (study / "data_mrna_seq_v2_rsem.txt").write_text(
        f"Hugo_Symbol\tEntrez_Gene_Id\t{A}-02\t{A}-01\t{B}-01\n"
        "TP53\t7157\t9\t1.5\t1\n\t9232\t9\t2.5\t1\nEGFR\t1956\t9\t3\t2\n"
    )
    out = tmp_path / "out"
    report = import_tcga(out, cbioportal=study)
    patients = read_patients(out / "patients.tsv")
    assert patients.loc[A, ["survival_days", "event", "grade"]].tolist() == ["304.38", "1", "G4"]
    assert patients.loc[B, "survival_days"] is None
    assert ("value", "survival is not above 0 days", 1) in report.reasons()
    table = read_expression(out / "expression_tcga.h5ad", "tpm", "tcga", out / "samples_tcga.tsv")
    # the gene without a symbol came by its Entrez id
    found = table.values.loc[["TP53", "PTTG1", "EGFR"], f"{A}-01"].to_numpy()
    np.testing.assert_allclose(found, np.array([1.5, 2.5, 3]) / 7 * 1e6)
    assert list(table.values.columns) == [f"{A}-01", f"{B}-01"]


@given(
    st.from_regex(
        r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}-0[1-9][A-C]-[0-9]{2}[DRTW]-[A-Z0-9]{4}-[0-9]{2}", fullmatch=True
    )
)
def test_an_aliquot_barcode_is_the_sum_of_its_fields(text: str) -> None:
    b = parse_barcode(text)
    assert b is not None
    assert f"{b.patient}-{b.sample_type}{b.vial}-{b.portion}{b.analyte}-{b.rest}" == text
    assert b.patient == f"TCGA-{b.site}-{text[8:12]}"


@pytest.mark.parametrize(
    "text", ["", "TCGA", "TCGA-06", "TCGA-06-0125x", "C3L-00104", "TCGA-06-0125-1A", "../TCGA-06-0125"]
)
def test_what_is_no_barcode_is_none(text: str) -> None:
    assert parse_barcode(text) is None


@pytest.mark.slow
@pytest.mark.data
def test_the_real_star_counts_file_is_read_whole(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "tables_tcga" / "gdc_star_counts_example_979a75fb.tsv.gz"
    folder = GdcFolder(tmp_path)
    text = gzip.decompress(source.read_bytes()).decode()
    folder.expression(f"{A}-01A-01R-1849-01", text)
    (tmp_path / "clinical.tsv").write_text(GDC_CLINICAL)
    out = run(folder, quantity="tpm")
    table = read_expression(out / "expression_tcga.h5ad", "tpm", "tcga", out / "samples_tcga.tsv")
    assert table.counts["rows_read"] == 60660
    assert table.values.sum().iloc[0] == pytest.approx(1e6, rel=1e-4)
    by_hand = pd.read_csv(source, sep="\t", comment="#").set_index("gene_name")["tpm_unstranded"]
    for gene in ("TP53", "PTTG1", "IFNGR2", "EGFR"):
        assert table.values.loc[gene].iloc[0] == pytest.approx(by_hand[gene], rel=1e-6)
