"""Gene lists: what is shipped, what a user's file may hold, and where a gene of both lists goes."""

from __future__ import annotations

import csv
import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from pathduet.core.errors import InputError
from pathduet.expression.gene_sets import (
    RESERVED,
    assign_subspaces,
    gene_lists,
    read_gene_set,
    shipped,
    shipped_gmt,
)
from pathduet.expression.identifiers import harmonised_symbols

FINER = ("tumor", "immune", "stroma", "vasculature")


def test_shipped_lists_hold_the_papers_most_correlated_genes_and_have_its_order_of_size() -> None:
    tumor, tme = shipped("tumor"), shipped("tme")
    assert "PTTG1" in tumor and "IFNGR2" in tme
    assert 197 <= len(tumor) <= 800 and 800 <= len(tme) <= 1203
    assert tumor == sorted(set(tumor)) and tme == sorted(set(tme))


def test_readme_states_the_counts_of_the_shipped_files(repository: Path) -> None:
    text = (repository / "presets" / "genesets" / "README.md").read_text(encoding="utf-8")
    both = len(set(shipped("tumor")) & set(shipped("tme")))
    assert f"| `tumor.txt` | {len(shipped('tumor')):,} |" in text
    assert f"| `tme.txt` | {len(shipped('tme')):,} |" in text
    assert f"| in both | {both} |" in text
    lists = {name: shipped(name) for name in FINER}
    for name, genes in lists.items():
        others = set().union(*(lists[other] for other in FINER if other != name))
        assert f"| `{name}.txt` | {len(genes)} | {len(set(genes) - others)} |" in text


def test_finer_subspaces_divide_the_microenvironments_list() -> None:
    assert set().union(*map(shipped, FINER[1:])) == set(shipped("tme"))
    for name, gene in (("immune", "CD8A"), ("stroma", "DCN"), ("vasculature", "VWF")):
        assert [other for other in FINER if gene in shipped(other)] == [name]


@pytest.mark.data
def test_build_script_reproduces_the_shipped_files(repository: Path, test_data: Path, tmp_path: Path) -> None:
    script = repository / "presets" / "genesets" / "build.py"
    subprocess.run(
        [sys.executable, script, test_data / "genes", "--out", tmp_path], check=True, capture_output=True
    )
    for name in ("tumor.txt", "tme.txt", "immune.txt", "stroma.txt", "vasculature.txt", "groups.gmt"):
        assert (tmp_path / name).read_bytes() == (repository / "presets" / "genesets" / name).read_bytes()


def test_no_name_of_the_identifiers_means_two_genes(repository: Path) -> None:
    packed = (repository / "presets" / "genesets" / "identifiers.tsv.gz").read_bytes()
    rows = list(csv.DictReader(gzip.decompress(packed).decode().splitlines(), delimiter="\t"))
    symbols = [row["gene_symbol"] for row in rows]
    assert len(symbols) == len(set(symbols)) > 40_000
    for column in ("ensembl_id", "entrez_id", "other_symbols"):
        names = [name for row in rows for name in row[column].split(";") if name]
        assert len(names) == len(set(names)) > 30_000
        assert not set(symbols) & set(names)


def test_genes_of_the_shipped_lists_keep_their_symbols() -> None:
    genes = sorted({*shipped("tumor"), *shipped("tme")})
    assert harmonised_symbols(genes) == genes


def test_gene_list_allows_comments_and_keeps_order(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("# mine\nTP53\n\n  EGFR  # amplified\n")
    assert read_gene_set(path) == ["TP53", "EGFR"]


def test_a_list_of_ones_own_meets_a_table_by_another_name_of_a_gene(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("HER2\nENSG00000091831\nKi-67\n")
    (tmp_path / "own.gmt").write_text("hormone\t\tESR1\tNR3C3\tHER2\n")
    table = harmonised_symbols(["ENSG00000091831.24", "ENSG00000141736", "4288", "PGR"])
    assert read_gene_set(tmp_path / "own.txt") == ["ERBB2", "ESR1", "MKI67"]
    assert gene_lists({"hormone": str(tmp_path / "own.gmt")}) == {"hormone": ["ESR1", "PGR", "ERBB2"]}
    assert table == ["ESR1", "ERBB2", "MKI67", "PGR"]


def test_every_bad_line_of_a_gene_list_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("TP53\nEGFR, PTEN\nTP53\nCDK4 CDK6\n")
    with pytest.raises(InputError) as caught:
        read_gene_set(path)
    assert [p.where for p in caught.value.problems] == [f"gene list own.txt line {n}" for n in (2, 3, 4)]
    assert "line 1" in caught.value.problems[1].found


def test_empty_and_absent_gene_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n")
    for name in ("empty.txt", "absent.txt"):
        with pytest.raises(InputError, match=name):
            read_gene_set(tmp_path / name)


def test_subspaces_come_from_shipped_lists_own_lists_and_gmt_files(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("ESR1\nPGR\n")
    gmt = tmp_path / "sets.gmt"
    gmt.write_text("LOW\tnote\tA\tB\nHIGH\t\tB\tC\tB\n")
    lists = gene_lists(
        {
            "vasculature": "shipped",
            "own": str(tmp_path / "own.txt"),
            "every": str(gmt),
            "one": {"gmt": str(gmt), "sets": ["HIGH"]},
            "turned": {"gmt": str(gmt), "sets": ["HIGH", "LOW"]},
            "cycle": {"gmt": "shipped", "sets": ["proliferation"]},
        }
    )
    assert list(lists) == ["vasculature", "own", "every", "one", "turned", "cycle"]
    assert lists["vasculature"] == shipped("vasculature") and lists["own"] == ["ESR1", "PGR"]
    assert lists["every"] == ["A", "B", "C"] and lists["one"] == ["B", "C"]
    assert lists["turned"] == ["B", "C", "A"]
    assert lists["cycle"] == list(shipped_gmt()["proliferation"])


def test_every_subspace_that_cannot_be_read_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    gmt = tmp_path / "hallmarks.gmt"
    gmt.write_text("HYPOXIA\t\tA\nGLYCOLYSIS\t\tB\n")
    with pytest.raises(InputError) as caught:
        gene_lists(
            {
                "imune": "shipped",
                "hypoxia": {"gmt": str(gmt), "sets": ["HYPOXYA", "GLYCOLYSIS"]},
                "absent": str(tmp_path / "absent.txt"),
                "lost": {"gmt": str(tmp_path / "lost.gmt")},
                "tumor": "shipped",
            }
        )
    said = [str(problem) for problem in caught.value.problems]
    assert "did you mean immune?" in said[0] and "stroma" in said[0]
    assert said[1].startswith("subspaces.hypoxia: no set 'HYPOXYA' in hallmarks.gmt; did you mean HYPOXIA?")
    assert "absent.txt" in said[2] and "lost.gmt" in said[3] and len(said) == 4


@pytest.mark.parametrize("name", RESERVED)
def test_words_with_a_meaning_are_no_names_of_subspaces(name: str) -> None:
    with pytest.raises(InputError, match=name):
        gene_lists({name: "shipped"})


@pytest.mark.parametrize(
    ("shared_genes", "expected"), [("x", "x"), ("y", "y"), ("z", ""), ("all", "shared"), ("drop", "")]
)
def test_a_gene_of_several_lists_goes_where_it_is_told(shared_genes: str, expected: str) -> None:
    lists = {"x": ["A", "B"], "y": ["B", "C"], "z": ["D"]}
    series = assign_subspaces(["A", "B", "C", "D", "E"], lists, shared_genes)
    assert series.to_dict() == {"A": "x", "B": expected, "C": "y", "D": "z", "E": ""}


def test_unknown_rule_for_genes_of_several_lists_is_refused() -> None:
    with pytest.raises(InputError, match=r"expression.shared_genes: 'tumour'; did you mean tumor\?"):
        assign_subspaces(["A"], {"tumor": ["A"], "tme": ["A"]}, "tumour")


def test_ensembl_ids_lose_their_version_and_become_symbols_where_known() -> None:
    genes = [
        "ENSG00000164611.13",
        "ENSG00000091831",
        "ENSG00000002586.20_PAR_Y",
        "ENSG00000999999.1",
        "2099",
        "TP53",
    ]
    assert harmonised_symbols(genes) == ["PTTG1", "ESR1", "CD99", "ENSG00000999999", "ESR1", "TP53"]


def test_another_symbol_is_replaced_only_if_the_lists_own_is_absent() -> None:
    assert harmonised_symbols(["NOV", "IL8", "EGFR", "HLA.A"]) == ["CCN3", "CXCL8", "EGFR", "HLA-A"]
    assert harmonised_symbols(["RIGI", "A.B", "HER2"]) == ["DDX58", "A.B", "ERBB2"]
    assert harmonised_symbols(["NOV", "CCN3"]) == ["NOV", "CCN3"]
