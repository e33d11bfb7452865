"""Groups of genes: shipped, from a file, or contiguous."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathduet.catalogue import find
from pathduet.core.errors import InputError
from pathduet.expression.gene_sets import shipped, shipped_gmt
from pathduet.models.baselines.gene_groups import group_positions, read_gene_groups
from pathduet.models.inputs import NetworkSizes
from pathduet.models.network_settings import network_settings


def sizes(tumor: str, tme: str) -> NetworkSizes:
    return NetworkSizes(6, {"tumor": tuple(tumor.split()), "tme": tuple(tme.split())}, 2)


def test_shipped_groups_cover_the_shipped_lists_and_nothing_else() -> None:
    groups = shipped_gmt()
    assert len(groups) == 6
    assert set().union(*groups.values()) == {*shipped("tumor"), *shipped("tme")}
    three = list(groups.values())[:3]
    assert set().union(*three) == set(shipped("tumor"))


def test_groups_hold_their_genes_and_the_rest_is_not_lost() -> None:
    given = {"kinases": ["A", "X", "B", "absent"], "cytokines": ["X", "Y", "Z"]}
    found = group_positions(sizes("A B C", "X Y Z V"), given)
    assert found == {
        "kinases": [0, 1, 3],
        "cytokines": [3, 4, 5],
        "other tumor genes": [2],
        "other tme genes": [6],
    }


def test_groups_too_small_for_a_token_join_the_rest() -> None:
    found = group_positions(sizes("A B C D", "X Y Z"), {"large": ["A", "B", "C"], "small": ["X", "Y"]})
    assert found == {"large": [0, 1, 2], "other tumor genes": [3], "other tme genes": [4, 5, 6]}


def test_genes_of_no_group_are_grouped_by_gene_set() -> None:
    found = group_positions(sizes("A B", "X Y Z"), None)
    assert found == {"tumor genes": [0, 1], "tme genes": [2, 3, 4]}


def test_every_subspace_has_a_rest_of_its_own() -> None:
    genes = {"x": ("A", "B"), "y": ("C", "D"), "z": ("A", "E", "F")}
    found = group_positions(NetworkSizes(6, genes, 2), {"one": ["A", "B", "C"], "two": ["D"]})
    assert found == {"one": [0, 1, 2, 4], "other y genes": [3], "other z genes": [5, 6]}
    assert group_positions(NetworkSizes(6, {"only": ("A",)}, 2), {}) == {"only genes": [0]}


def test_chunks_cut_the_list_into_six_parts_whatever_the_genes_are() -> None:
    tumor, tme = " ".join(shipped("tumor")[:7]), " ".join(f"Q{i}" for i in range(9))
    chunks = list(group_positions(sizes(tumor, tme), "chunks").values())
    assert [i for chunk in chunks for i in chunk] == list(range(16))
    assert len(chunks) == 6 and {len(chunk) for chunk in chunks} == {2, 3}


def test_a_table_with_a_column_a_family_and_a_gmt_file_say_the_same(tmp_path: Path) -> None:
    table, gmt = tmp_path / "signatures.csv", tmp_path / "families.gmt"
    table.write_text("Oncogenes,Protein Kinases\nABL1,AAK1\nKIT,\n")
    gmt.write_text("Oncogenes\tnote\tABL1\tKIT\nProtein Kinases\t\tAAK1\n")
    expected = {"Oncogenes": ("ABL1", "KIT"), "Protein Kinases": ("AAK1",)}
    assert read_gene_groups(table) == read_gene_groups(gmt) == expected
    config = network_settings(find("mcat"), {"gene_groups": str(table)})
    assert config.gene_groups == expected


@pytest.mark.parametrize(
    "name,text,complaint",
    [
        ("a.csv", "", "no set"),
        ("a.csv", "One,One\nA,B\n", "twice"),
        ("a.csv", "One,\nA,B\n", "no name"),
        ("a.gmt", "One\tnote\n", "no gene"),
        ("a.xlsx", "x", "xlsx"),
        ("missing.gmt", None, "no such file"),
    ],
)
def test_bad_files_are_refused_with_their_name(
    tmp_path: Path, name: str, text: str | None, complaint: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=complaint) as caught:
        read_gene_groups(path)
    assert name in str(caught.value)
