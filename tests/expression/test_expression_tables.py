"""Reading expression tables: every format alike, every problem named, every loss counted."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from pathduet.core.errors import InputError
from pathduet.expression.tables import ExpressionTable, read_expression
from pathduet.expression.units import to_log2


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path: Path, unit: str, **more: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_expression(path, unit, "c", **more)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def table() -> pd.DataFrame:
    values = np.random.default_rng(0).gamma(2.0, 30.0, (6, 4)).round(3)
    return pd.DataFrame(values, index=[f"G{i}" for i in range(6)], columns=[f"P{i}" for i in range(4)])


def test_all_formats_give_the_same_table(table: pd.DataFrame, tmp_path: Path) -> None:
    long = table.rename_axis("gene_symbol").reset_index()
    long.to_csv(tmp_path / "e.tsv", sep="\t", index=False)
    long.to_csv(tmp_path / "e.tsv.gz", sep="\t", index=False)
    long.to_csv(tmp_path / "e.csv", index=False)
    long.to_csv(tmp_path / "e.csv.gz", index=False)
    long.to_parquet(tmp_path / "e.parquet")
    table.rename_axis("gene_symbol").to_parquet(tmp_path / "indexed.parquet")
    anndata.AnnData(table.T).write_h5ad(tmp_path / "e.h5ad")
    for file in sorted(tmp_path.iterdir()):
        read = read_expression(file, "tpm", "c")
        pd.testing.assert_frame_equal(read.values, table, check_names=False)
        assert read.samples["patient_id"].tolist() == list(table.columns)
        assert set(read.samples["slide_id"]) == {""}


def test_h5ad_maps_samples_by_obs_and_reads_sparse(table: pd.DataFrame, tmp_path: Path) -> None:
    from scipy.sparse import csr_matrix

    obs = pd.DataFrame({"patient_id": ["A", "A", "B", "B"]}, index=table.columns)
    obs["slide_id"] = ["s1", "s2", "", ""]
    var = pd.DataFrame({"gene_symbol": table.index}, index=[f"id{i}" for i in range(6)])
    anndata.AnnData(csr_matrix(table.T.to_numpy()), obs=obs, var=var).write_h5ad(tmp_path / "e.h5ad")
    read = read_expression(tmp_path / "e.h5ad", "tpm", "c")
    np.testing.assert_array_equal(read.values.to_numpy(), table.to_numpy())
    assert read.samples.to_dict("list") == {
        "patient_id": ["A", "A", "B", "B"],
        "slide_id": ["s1", "s2", "", ""],
    }


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "e.tsv", "gene_symbol\tA\tB\tA\tC\nG1\t1\tx\t3\t\nG2\t-4\t1.5\tinf\t\n")
    found = problems_of(path, "furlongs")
    assert any("'furlongs'" in p for p in found)
    assert any("sample A: more than one column" in p for p in found)
    assert any("row 2 (G1), column B: 'x'" in p for p in found)
    assert any("row 3 (G2), column A: -4" in p for p in found)
    assert any("row 3 (G2), column A: inf" in p for p in found)
    assert any("sample C: no value at all" in p for p in found)
    found = problems_of(path, "counts")
    assert any("row 3 (G2), column B: 1.5; counts are whole" in p for p in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        ("gene_symbol\tA\n", "no row below the header"),
        ("gene_symbol\nG1\n", "no sample column"),
        ("Sample\tG1\tG2\nA\t1\t2\n", "genes are rows, samples columns"),
        ("gene_symbol\tA\nG1\t1\t2\n", "3 cells under 2 columns"),
        ("gene_symbol\tA\nG1\t1\nG2\t1\t2\n", "as many cells as the header"),
        ("gene_symbol\tA\t\nG1\t1\t2\n", "no sample id"),
        ("gene_symbol\tA\tB\nG1\t1.5\t\nG2\t\t2\n", "no gene without missing values"),
        ("gene_symbol\tA\tB\nG1\tTrue\t1\n", "True"),
    ],
)
def test_malformed_tables_are_refused_with_what_to_do(text: str, message: str, tmp_path: Path) -> None:
    assert any(message in p for p in problems_of(write(tmp_path / "e.tsv", text), "tpm"))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"gene_symbol\tA\n" + b"".join(b"G%d\t1.5\n" % i for i in range(9999)))
    (tmp_path / "cut.tsv.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "no.h5ad").write_bytes(b"no")
    (tmp_path / "e.xlsx").write_bytes(b"no")
    for name in ("cut.tsv.gz", "no.parquet", "no.h5ad", "e.xlsx", "absent.tsv"):
        assert any(name in p for p in problems_of(tmp_path / name, "tpm"))


def test_a_long_list_of_bad_cells_is_cut_short_and_counted(tmp_path: Path) -> None:
    rows = "".join(f"G{i}\t-1\n" for i in range(300))
    found = problems_of(write(tmp_path / "e.tsv", "gene_symbol\tA\n" + rows), "tpm")
    assert len(found) == 21 and "280 more cells" in found[-1]


def test_a_parquet_column_of_mixed_types_is_read_cell_by_cell(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    pd.DataFrame({"gene_symbol": list("abc"), "A": ["1", "0", "2.5"], "B": [1.5, None, 2]}).to_parquet(path)
    read = read_expression(path, "tpm", "c")
    assert read.values["A"].tolist() == [1.0, 2.5] and list(read.values.index) == ["a", "c"]
    pd.DataFrame({"gene_symbol": ["a", "b"], "A": [True, False]}).to_parquet(path)
    assert len(problems_of(path, "tpm")) >= 2


@pytest.mark.parametrize(
    ("unit", "values", "message"),
    [
        ("log2_tpm", [[25.0, 1.0]], "not log2(TPM + 1)"),
        ("zscore", [[0.5, 1.0]], "not z-scores"),
        ("zscore", [[-80.0, 90.0]], "not z-scores"),
        ("tpm", [[100.0, 7.0]], "look like counts"),
        ("fpkm", [[100.0, 7.0]], "look like counts"),
        ("tpm", np.linspace(0.5, 15, 1200).reshape(600, 2), "look like logarithms"),
        ("counts", np.arange(1200).reshape(600, 2) % 15, "look like logarithms"),
    ],
)
def test_values_of_another_unit_are_refused(
    unit: str, values: list, message: str, tmp_path: Path
) -> None:  # fmt: skip
    frame = pd.DataFrame(values, columns=["A", "B"])
    frame.insert(0, "gene_symbol", [f"G{i}" for i in range(len(frame))])
    frame.to_csv(tmp_path / "e.csv", index=False)
    assert any(message in p for p in problems_of(tmp_path / "e.csv", unit))


@pytest.mark.parametrize(
    ("unit", "merged"), [("counts", 12.0), ("tpm", 12.0), ("fpkm", 12.0), ("log2_tpm", 6.0)]
)
def test_rows_of_one_gene_are_summed_or_averaged_by_unit(unit: str, merged: float, tmp_path: Path) -> None:
    decimals = "" if unit == "counts" else ".5"
    text = f"gene_symbol\tA\nG1\t5\nG2\t1{decimals}\nG1\t7\n\t3\n"
    read = read_expression(write(tmp_path / "e.tsv", text), unit, "c")
    assert read.values.loc["G1", "A"] == merged
    assert (read.counts["rows_merged"], read.counts["rows_without_gene"], read.counts["genes"]) == (1, 1, 2)


def test_a_gene_with_a_missing_value_is_dropped_with_all_its_rows_and_counted(tmp_path: Path) -> None:
    text = "gene_symbol\tA\tB\nG1\t5.5\t1\nG2\t1\tNA\nG2\t1\t2\n"
    read = read_expression(write(tmp_path / "e.tsv", text), "tpm", "c")
    assert list(read.values.index) == ["G1"]
    assert read.counts["genes_with_missing_values"] == 1
    assert any("1 gene without a value" in w for w in read.warnings)


def test_sample_sheet_maps_samples_to_patients_and_slides(table: pd.DataFrame, tmp_path: Path) -> None:
    table.rename_axis("gene_symbol").to_csv(tmp_path / "e.csv")
    sheet = write(
        tmp_path / "samples.tsv",
        "sample_id\tpatient_id\tslide_id\nP0\tX\ts1\nP2\tX\t\nP1\tY\ts2\nZ\tZ\t\n",
    )
    read = read_expression(tmp_path / "e.csv", "tpm", "c", sheet)
    assert list(read.values.columns) == list(read.samples.index) == ["P0", "P1", "P2"]
    assert read.samples["patient_id"].tolist() == ["X", "Y", "X"]
    assert read.samples["slide_id"].tolist() == ["s1", "s2", ""]
    assert read.counts["samples_not_in_sample_sheet"] == 1
    assert read.counts["sample_sheet_rows_without_expression"] == 1


def test_every_problem_of_a_sample_sheet_is_listed(table: pd.DataFrame, tmp_path: Path) -> None:
    table.rename_axis("gene_symbol").to_csv(tmp_path / "e.csv")
    sheet = write(tmp_path / "samples.tsv", "sample_id\tpatient_id\nP0\tX\nP0\tY\nP1\t\n\tY\n")
    found = problems_of(tmp_path / "e.csv", "tpm", sample_sheet=sheet)
    assert len(found) == 3 and any("sample P0: more than one row" in p for p in found)
    assert any("row 4, patient_id" in p for p in found) and any("row 5, sample_id" in p for p in found)
    for text in ("sample\tpatient_id\nP0\tX\n", "sample_id\tpatient_id\nQ\tX\n"):
        assert problems_of(tmp_path / "e.csv", "tpm", sample_sheet=write(sheet, text))


def make(unit: str, values: pd.DataFrame) -> ExpressionTable:
    samples = pd.DataFrame({"patient_id": values.columns, "slide_id": ""}, index=values.columns)
    return ExpressionTable("c", unit, values, samples, {})  # type: ignore[arg-type]


def test_fpkm_and_tpm_of_the_same_sample_agree(table: pd.DataFrame) -> None:
    tpm = table / table.sum() * 1e6
    from_tpm, _ = to_log2(make("tpm", tpm))
    from_fpkm, _ = to_log2(make("fpkm", tpm * [0.2, 3.0, 1.0, 17.0]))
    pd.testing.assert_frame_equal(from_tpm, from_fpkm)
    np.testing.assert_allclose(from_tpm, np.log2(tpm.to_numpy() + 1))


def test_counts_become_log2_cpm_and_say_so(table: pd.DataFrame) -> None:
    counts = table.round()
    values, warnings = to_log2(make("counts", counts))
    np.testing.assert_allclose((2**values - 1).sum(), 1e6)
    np.testing.assert_allclose(values["P1"], np.log2(counts["P1"] / counts["P1"].sum() * 1e6 + 1))
    assert any("CPM" in w for w in warnings) and any("6 genes" in w for w in warnings)


def test_logarithms_and_z_scores_pass_unchanged(table: pd.DataFrame) -> None:
    for unit in ("log2_tpm", "zscore"):
        values, warnings = to_log2(make(unit, table))
        pd.testing.assert_frame_equal(values, table)
        assert bool(warnings) == (unit == "zscore")


@pytest.mark.slow
@pytest.mark.data
def test_real_gdc_counts_and_tpm_columns_of_one_sample_correlate(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "tables_tcga" / "gdc_star_counts_example_979a75fb.tsv.gz"
    gdc = pd.read_csv(source, sep="\t", comment="#").iloc[4:]
    log2 = {}
    for unit, column in (("counts", "unstranded"), ("tpm", "tpm_unstranded"), ("fpkm", "fpkm_unstranded")):
        gdc[["gene_id", "gene_name", column]].to_csv(tmp_path / f"{unit}.tsv", sep="\t", index=False)
        read = read_expression(tmp_path / f"{unit}.tsv", unit, "gdc")
        assert read.counts["rows_without_gene"] == 0 and read.counts["rows_merged"] > 1000
        log2[unit] = to_log2(read)[0][column]
        gdc[["gene_id", column]].to_csv(tmp_path / "ids.tsv", sep="\t", index=False)
        by_id = read_expression(tmp_path / "ids.tsv", unit, "gdc").values
        assert by_id.loc["PTTG1", column] == read.values.loc["PTTG1", column]
    # GDC's TPM and FPKM columns are rounded to 4 digits, so they agree to that.
    np.testing.assert_allclose(log2["fpkm"], log2["tpm"], atol=1e-3)
    assert np.corrcoef(log2["counts"], log2["tpm"])[0, 1] > 0.9


@pytest.mark.data
def test_real_z_scores_read_and_are_refused_as_any_other_unit(test_data: Path) -> None:
    path = test_data / "cohort_composed" / "expression_internal.tsv.gz"
    read = read_expression(path, "zscore", "internal")
    assert read.values.shape == (1544, 36)
    for unit in ("counts", "tpm", "fpkm", "log2_tpm"):
        assert any("never negative" in p for p in problems_of(path, unit))


@pytest.mark.slow
@pytest.mark.data
def test_tables_with_samples_in_rows_are_refused_with_advice(test_data: Path) -> None:
    found = problems_of(test_data / "expr_external" / "Joo_expr.tsv.gz", "log2_tpm")
    assert any("genes are rows, samples columns" in p for p in found)


GCT = "#1.2\n2\t2\nName\tDescription\tA\tB\nENSG00000164611.12\tPTTG1\t1.5\t2\nENSG00000026508.17\tCD44\t4.5\t5\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gtex.gct", GCT.encode()),
        ("gtex.gct.gz", gzip.compress(GCT.encode(), mtime=0)),  # the time would be in the test's name
        ("utf16.tsv", "gene_symbol\tA\tB\nPTTG1\t1.5\t2\nCD44\t4.5\t5\n".encode("utf-16")),
        ("german.csv", b"gene_symbol;A;B\nPTTG1;1,5;2\nCD44;4,5;5\n"),
        ("german_zeros.csv", b'gene_symbol;A;B\n__unmapped;0;0\nPTTG1;"1,5";2\nCD44;4,5;5\n'),
        ("tabs.csv", b"gene_symbol\tA\tB\nPTTG1\t1.5\t2\nCD44\t4.5\t5\n"),
        ("commas.txt", b"gene_symbol,A,B\r\nPTTG1,1.5,2\r\nCD44,4.5,5\r\n"),
        ("excel.csv", b"gene_symbol,A,B,,\nPTTG1,1.5,2,,\nCD44,4.5,5,,\n,,,,\n"),
        ("trailing.tsv", b"gene_symbol\tA\tB\nPTTG1\t1.5\t2\t\nCD44\t4.5\t5\t\n"),
        ("comment.tsv", b"# written by a tool\ngene_symbol\tA\tB\nPTTG1\t1.5\t2\nCD44\t4.5\t5\n"),
        ("entrez.csv", b"entrez_id,A,B\n9232.0,1.5,2\n960.0,4.5,5\n"),
        ("legacy.tsv", b"gene_id\tA\tB\nPTTG1|9232\t1.5\t2\nCD44|960\t4.5\t5\n"),
        ("htseq.tsv", b"gene_id\tA\tB\nPTTG1\t1.5\t2\nCD44\t4.5\t5\n__no_feature\t9e9\t9e9\n"),
        ("star.tsv", b"gene_id\tA\tB\nN_unmapped\t9e9\t9e9\nPTTG1\t1.5\t2\nCD44\t4.5\t5\n"),
    ],
)  # fmt: skip
def test_files_that_people_have_are_read(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    read = read_expression(tmp_path / name, "tpm", "c")
    assert read.values.to_dict("list") == {"A": [4.5, 1.5], "B": [5, 2]}
    assert list(read.values.index) == ["CD44", "PTTG1"]


def test_a_workbook_is_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"gene_symbol": ["PTTG1", pd.Timestamp("2021-03-01")], "A": [1.5, 2], "B": [2, 3]})
    frame.to_excel(tmp_path / "e.xlsx", index=False)
    read = read_expression(tmp_path / "e.xlsx", "tpm", "c")
    assert read.values.to_dict() == {"A": {"PTTG1": 1.5}, "B": {"PTTG1": 2}}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("GSE1_series_matrix.txt", '!Series_title\t"x"\n"ID_REF"\t"P01"\n"1007_s_at"\t1.5\n', "a GEO series matrix"),
        ("e.gct", "#1.3\n2\t3\t1\t1\nid\tD\tA\nG\tx\t1\n", "GCT 1.3, with rows and columns of annotation"),
        ("e.tsv", "# gene-model: GENCODE v36\ngene_id\tunstranded\n", "the GDC's STAR counts of one sample"),
        ("e.tsv", "sample\tTP53\tEGFR\tCD44\nP1\t1\t2\t3\n", "samples in rows: its columns are genes"),
        ("e.tsv", "A\tB\nTP53\t1.5\t2\n", "R's write.table leaves it out"),
        ("e.tsv", "gene_id\tA\tA\nTP53\t1.5\t2\n", "sample A: more than one column"),
        ("e.tsv", "gene_id\tkind\tA\nTP53\tx\t1\nCD44\ty\t2\nEGFR\tz\t3.5\n", "column kind: no cell is a number"),
        ("e.tsv", "gene_id\tA\nTP53\t1,5\nCD44\t2,5\nEGFR\t3,5\n", "write numbers with decimal points"),
        ("e.tsv", "gene_id\tA\tB\nTP53\t1.5\ttrue\nCD44\t1.5\tx\nEGFR\t2\t1\n", "column B: 'true'"),
        ("e.tsv", "gene_id\tA\nTP53\t1.5\nCD44\t1.5\t2\n", "cannot be read"),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_a_line_that_says_what_they_are(
    name: str, text: str, said: str, tmp_path: Path
) -> None:
    found = problems_of(write(tmp_path / name, text), "tpm")
    assert any(said in p for p in found) and len(found) < 3, found


def test_genes_that_excel_took_for_dates_are_left_out_and_told(tmp_path: Path) -> None:
    genes = [
        "TP53",
        "1-Mar",
        "1-Mar",
        "Sep-02",
        "44256",
        "2021-09-02",
        "01.03.2021",
        "3/1/2021",
        "MARCH1",
        "SEPT2",
        "9232",
        "CD44",
    ]
    text = "gene_symbol\tA\n" + "".join(f"{gene}\t{i}.5\n" for i, gene in enumerate(genes))
    read = read_expression(write(tmp_path / "e.tsv", text), "tpm", "c")
    assert list(read.values.index) == ["CD44", "MARCHF1", "PTTG1", "SEPTIN2", "TP53"]
    assert read.counts["rows_without_gene"] == 7 and read.counts["rows_merged"] == 0
    (said,) = read.warnings
    assert "or SEPT2: 7 rows (" in said and "1-Mar" in said
