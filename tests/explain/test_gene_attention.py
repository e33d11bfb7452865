"""Gene attention by hand: focus, similarity, agreement, gain on regions; sets and folds put together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from pathduet.explain.gene_attention import (
    attention_table,
    focus,
    gene_set_table,
    key_part,
    measures,
    region_gain,
    row_correlation,
    similarity,
)
from pathduet.losses.dev import cross_scale_similarity


def test_focus_runs_from_even_to_one_point() -> None:
    rows = np.array([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    assert focus(rows) == pytest.approx([0, 1, 0.5])


def test_similarity_is_the_genes_share_of_the_consistency_losss_c() -> None:
    torch.manual_seed(0)
    first, second = torch.rand(2, 1, 4, 6, 9).softmax(dim=-1)
    per_gene = similarity(first[0].double().numpy(), second[0].double().numpy())
    assert per_gene.mean() == pytest.approx(float(cross_scale_similarity(first, second)), rel=1e-5)
    even = np.full((4, 6, 9), 1 / 9)
    assert similarity(even, even) == pytest.approx(np.ones(6))


def test_agreement_is_pearsons_r_of_each_row() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 20)), rng.random((3, 20))
    b[1] = 2 * a[1] + 1
    b[2] = 0.5
    found = row_correlation(a, b)
    assert found[0] == pytest.approx(np.corrcoef(a[0], b[0])[0, 1]) and found[1] == pytest.approx(1)
    assert np.isnan(found[2])


def test_even_attention_gains_nothing_and_attention_on_tumor_does() -> None:
    tumor, annotated = np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 1, 0])
    rows = np.array([[0.25] * 4, [1.0, 0, 0, 0], [0, 0, 0, 1.0]])
    gain = region_gain(rows, tumor, annotated)
    assert gain[:2] == pytest.approx([1, 3]) and np.isnan(gain[2])
    assert np.isnan(region_gain(rows, np.zeros(4), annotated)).all()


def test_keys_are_read_where_their_points_lie() -> None:
    inside = np.array([1, 1, 0, 0] * 3 + [0] * 4, dtype=bool)  # 4 x 4, left half but for the last row
    assert key_part(torch.zeros(1, 2, 4, 4, 2), inside) == pytest.approx(
        inside.astype(float)
    )  # key k is cell k
    moved = torch.zeros(1, 2, 4, 4, 2)
    moved[..., 0] = 2.0  # two cells to the right
    assert key_part(moved, inside) == pytest.approx(np.zeros(16))


SUBSPACES = ["tumor", "immune", "stroma"]


def genes(names: list[str], weight: list[float], subspace: str = "tumor") -> pd.DataFrame:
    table = pd.DataFrame({"gene": names, "subspace": subspace, "patients": 5})
    for measure in measures(SUBSPACES):
        table[measure] = weight
    return table


def test_a_gene_is_averaged_over_the_folds_that_selected_it() -> None:
    table = attention_table({0: genes(["A", "B"], [1.0, 4.0]), 1: genes(["A"], [3.0])}, SUBSPACES)
    assert table["gene"].tolist() == ["B", "A"]
    row = table.set_index("gene").loc["A"]
    assert row["folds"] == 2 and row["patients"] == 10 and row["selection_10x"] == 2
    assert attention_table({}, SUBSPACES).empty
    assert {"tumor_gain_10x", "immune_gain_20x", "stroma_gain_20x"} <= set(table)


def test_subspaces_stand_in_the_configurations_order() -> None:
    several = pd.concat(
        [genes(["A"], [1.0], "stroma"), genes(["B"], [1.0], "tumor"), genes(["C"], [9.0], "immune")]
    )
    assert attention_table({0: several}, SUBSPACES)["gene"].tolist() == ["B", "C", "A"]


def test_sets_are_held_against_the_other_genes_of_their_subspace() -> None:
    names = [f"G{i}" for i in range(20)]
    table = gene_set_table(genes(names, [2.0 + i / 100 for i in range(5)] + [1.0 + i / 100 for i in range(15)]),
                           {"high": names[:5], "few": names[:2], "absent": ["X", "Y", "Z"]}, SUBSPACES)  # fmt: skip
    assert table["set"].tolist() == ["all", "high"]
    high = table.set_index("set").loc["high"]
    assert high["genes"] == 5 and high["selection_10x"] == pytest.approx(2.02) and high["q"] < 0.01
