"""Only tumours of a patient are measured as the patient: normals, recurrences and repeats are left out and named."""

from __future__ import annotations

from pathlib import Path

import anndata
import pandas as pd
import pytest

from pathduet.core.errors import InputError
from pathduet.importers.cptac import import_cptac
from pathduet.importers.report import ImportReport
from pathduet.importers.sample_types import TUMOURS, tumour_samples, type_of_sample
from pathduet.importers.table import import_table
from pathduet.importers.tcga import import_tcga


@pytest.mark.parametrize(
    ("sample", "patient", "code"),
    [
        ("C3N-00314", "C3N-00314", ""),
        ("C3N-00314.N", "C3N-00314", "11"),
        ("C3N.00314.N", "C3N-00314", "11"),
        ("C3N-00315-NAT", "C3N-00315", "11"),
        ("C3N-00316-A", "C3N-00316", "11"),
        ("C3N-00316_T1", "C3N-00316", "01"),
        ("P1 normal", "P1", "11"),
        ("P1-N2", "P1", "11"),
        ("P1-Tumour", "P1", "01"),
        ("P1_rec", "P1", "02"),
        ("P1_PBMC", "P1", "10"),
        ("X7316.1.N", "7316-1", "11"),
        ("P1-rep2", "P1", None),
        ("P1-2", "P1", None),
        ("TCGA-06-0675-11A", "TCGA-06-0675", "11"),
        ("TCGA.06.0675.02A.11R", "TCGA-06-0675", "02"),
        ("TCGA-06-0675-01A-11R-1849-01", "TCGA-06-0675", "01"),
    ],
)
def test_the_type_that_a_sample_id_says(sample: str, patient: str, code: str | None) -> None:
    assert type_of_sample(sample, patient) == code


def test_of_several_tumours_one_is_taken_and_the_others_are_named() -> None:
    report = ImportReport("x")
    owners = {
        "P1-T2": "P1",
        "P1-T1": "P1",
        "P1-met": "P1",
        "P2.N": "P2",
        "P3-met": "P3",
        "P4": "P4",
        "P4-T": "P4",
        "P5-rep2": "P5",
    }
    assert tumour_samples(owners, "m.tsv", report, ["01", "06"]) == {
        "P1-T1": "P1",
        "P3-met": "P3",
        "P4": "P4",
    }
    reasons = {lost.name: lost.reason for lost in report.dropped}
    assert "solid tissue normal" in reasons["P2.N"] and "not known" in reasons["P5-rep2"]
    assert (
        reasons["P1-T2"] == reasons["P1-met"] == reasons["P4-T"] == "another sample of the patient was used"
    )


def test_where_a_table_says_whose_samples_are_all_of_the_best_type_are_taken() -> None:
    report = ImportReport("x")
    owners = {
        "TCGA-06-0125-01A": "A",
        "TCGA-06-0125-01B": "A",
        "TCGA-06-0125-02A": "A",
        "TCGA-06-0125-11A": "A",
        "S1": "B",
        "S2": "B",
    }
    kept = tumour_samples(owners, "m.tsv", report, TUMOURS, several=True)
    assert list(kept) == ["TCGA-06-0125-01A", "TCGA-06-0125-01B", "S1", "S2"]
    assert [lost.name[-3:] for lost in report.dropped] == ["11A", "02A"]
    assert report.choices == ["patients with several samples, all of which are used: A (2), B (2)"]


def samples(out: Path, cohort: str) -> list[str]:
    return pd.read_csv(out / f"samples_{cohort}.tsv", sep="\t")["sample_id"].tolist()


def test_cptac_takes_tumours_only(tmp_path: Path) -> None:
    (tmp_path / "clin.tsv").write_text(
        "case_id\tage\tevent\tOS_days\nC3N-00314\t60\t1\t400\nC3N-00315\t61\t0\t500\nC3N-00316\t61\t0\t700\n"
    )
    names = ["C3N-00314", "C3N-00314.N", "C3N-00315", "C3N-00315-NAT", "C3N-00316-T1", "C3N-00316-A"]
    (tmp_path / "rna.tsv").write_text(
        "gene_symbol\t" + "\t".join(names) + "\nPTTG1\t100.5\t1\t200.5\t2\t50.5\t0.5\n"
    )
    report = import_cptac(tmp_path / "o", tmp_path / "clin.tsv", expression=tmp_path / "rna.tsv", unit="tpm")
    assert samples(tmp_path / "o", "cptac") == ["C3N-00314", "C3N-00315", "C3N-00316-T1"]
    assert [lost.name for lost in report.dropped] == ["C3N-00314.N", "C3N-00315-NAT", "C3N-00316-A"]


@pytest.mark.parametrize(("types", "kept"), [(None, ["-01A", "-01A"]), (["02", "01"], ["-02A", "-01A"])])
def test_a_table_of_barcodes_takes_the_sample_types_asked_for(
    tmp_path: Path, types: list[str] | None, kept: list[str]
) -> None:
    a, b = "TCGA-06-0125", "TCGA-06-0675"
    (tmp_path / "x.tsv").write_text(
        f"sample\tOS\t_PATIENT\tOS.time\n{a}-01A\t1\t{a}\t1448\n{a}-02A\t1\t{a}\t1448\n{b}-11A\t0\t{b}\t200\n"
    )
    (tmp_path / "m.tsv").write_text(
        f"Ensembl_ID\t{a}-01A\t{a}-02A\t{b}-11A\t{b}-01A\nENSG00000164611.11\t5.1\t1.0\t0.5\t4.1\n"
    )
    import_table(
        tmp_path / "o",
        tmp_path / "x.tsv",
        cohort="x",
        expression=tmp_path / "m.tsv",
        unit="log2_tpm",
        sample_type=types,
    )
    assert samples(tmp_path / "o", "x") == [a + kept[0], b + kept[1]]


def test_types_in_a_column_keep_normal_samples_and_slides_out(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text("patient_id\tage\nP1\t50\nP2\t60\n")
    (tmp_path / "m.tsv").write_text("gene_symbol\tA\tB\tC\nPTTG1\t1.5\t2\t3\n")
    (tmp_path / "s.tsv").write_text(
        "sample_id\tpatient_id\tsample_type\nA\tP1\tPrimary Tumor\nB\tP1\tSolid Tissue Normal\nC\tP2\tPrimary Tumor\n"
    )
    (tmp_path / "sl.tsv").write_text(
        "slide_id\tpatient_id\tpath\tspecimen_type\nS1\tP1\ta.svs\ttumor_tissue\nS2\tP1\ta.svs\tnormal_tissue\nS3\tP1\ta.svs\tbrain\n"
    )
    (tmp_path / "a.svs").write_bytes(b"x")
    report = import_table(tmp_path / "o", tmp_path / "p.tsv", cohort="c", expression=tmp_path / "m.tsv", unit="tpm",
                          samples=tmp_path / "s.tsv", slides=tmp_path / "sl.tsv")  # fmt: skip
    assert samples(tmp_path / "o", "c") == ["A", "C"]
    assert report.counts["slides"] == 1
    assert [lost.name for lost in report.dropped if "type" in lost.reason] == ["B", "S2", "S3"]


def study(tmp_path: Path, lines: str) -> Path:
    (tmp_path / "data_clinical_patient.txt").write_text(
        "#x\tx\tx\nPATIENT_ID\tOS_STATUS\tOS_MONTHS\nTCGA-02-0001\t1:DECEASED\t10\nTCGA-02-0002\t0:LIVING\t20\n"
    )
    (tmp_path / "data_clinical_sample.txt").write_text(
        "#x\tx\tx\nPATIENT_ID\tSAMPLE_ID\tGRADE\nTCGA-02-0001\tTCGA-02-0001-01\tG3\n"
        "TCGA-02-0002\tTCGA-02-0002-01\tG3\n"
    )
    (tmp_path / "data_mrna_seq_v2_rsem.txt").write_text(
        f"Hugo_Symbol\tTCGA-02-0001-01\tTCGA-02-0002-01\n{lines}"
    )
    return tmp_path


GENES = "".join(f"GENE{i}#x\t{i}.5\t{2 * i}\n" for i in range(1, 12))


def test_the_few_negative_estimates_of_batch_correction_count_as_0_and_are_named(tmp_path: Path) -> None:
    report = import_tcga(tmp_path / "o", cbioportal=study(tmp_path, GENES + "ACVR2A\t3\t-0.3421\n"))
    (rule,) = [rule for rule in report.choices if "negative" in rule]
    assert "1 negative value " in rule and "-0.3421 in row 13 (ACVR2A), column TCGA-02-0002-01" in rule
    written = anndata.read_h5ad(tmp_path / "o" / "expression_tcga.h5ad")
    table = pd.DataFrame(written.X.T, index=written.var["gene_symbol"], columns=written.obs_names)
    assert table.loc["ACVR2A", "TCGA-02-0002-01"] == 0
    # nothing behind a # inside a cell is lost
    assert len(table) == 12 and table.loc["GENE1#x"].gt(0).all()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("A\t-1\t2\nB\t3\t-0.5\n", "row 2 .A., column TCGA-02-0001-01: -1; 50%"),
        ("A\t1,5\t2\nB\t3\t4\n", "row 2 .A., column TCGA-02-0001-01: '1,5'"),
    ],
)
def test_a_matrix_that_holds_something_else_is_refused_at_its_cell(
    tmp_path: Path, lines: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        import_tcga(tmp_path / "o", cbioportal=study(tmp_path, lines))
    assert not (tmp_path / "o").exists()
