"""The fold's matrix: nothing leaks into it, genes meet by name, scaling is exact, files repeat to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st

from pathduet.cohort.labels import task_labels
from pathduet.cohort.make_folds import make_folds
from pathduet.cohort.sheets import read_patients
from pathduet.cohort.tasks import tasks_of
from pathduet.core.config import resolve
from pathduet.core.errors import InputError
from pathduet.expression import fold_matrix, prepare
from pathduet.expression.gene_scaling import GeneScaling
from pathduet.expression.gene_sets import gene_lists
from pathduet.expression.tables import ExpressionTable, read_expression

TUMOR = [f"T{i:02d}" for i in range(20)] + ["B0", "B1"]
TME = [f"E{i:02d}" for i in range(30)] + ["B0", "B1"]
OTHER = [f"O{i:03d}" for i in range(150)]


def expression(cohort: str, n: int, seed: int, unit: str = "log2_tpm") -> ExpressionTable:
    rng = np.random.default_rng(seed)
    genes = sorted({*TUMOR, *TME, *OTHER})
    values = rng.uniform(1, 8, (len(genes), 1)) + rng.uniform(
        0.2, 1.5, (len(genes), 1)
    ) * rng.standard_normal((len(genes), n))
    if unit != "zscore":
        values = np.clip(values, 0, 15)
    if unit == "counts":
        values = np.round(2**values)
    names = [f"{cohort}{i:02d}" for i in range(n)]
    samples = pd.DataFrame({"patient_id": names, "slide_id": ""}, index=names)
    frame = pd.DataFrame(values, index=genes, columns=names)
    return ExpressionTable(cohort, unit, frame, samples, {"genes": len(genes)})  # type: ignore[arg-type]


def cohort(unit: str = "log2_tpm") -> tuple[list[ExpressionTable], pd.DataFrame, pd.DataFrame]:
    tables = [expression("in", 24, 1, unit), expression("out", 8, 2, unit)]
    patients = pd.DataFrame(
        {"cohort": ["in"] * 24 + ["out"] * 8}, index=[*tables[0].values.columns, *tables[1].values.columns]
    )
    internal = patients[patients["cohort"] == "in"]
    labels = pd.Series(["x", "y"] * 12, index=internal.index)
    return tables, patients, make_folds(internal, labels, folds=3, seed=1)


def build(
    tables: list[ExpressionTable],
    patients: pd.DataFrame,
    folds: pd.DataFrame,
    fold: int = 0,
    **options: object,
) -> AnnData:
    listed = {"tumor": TUMOR, "tme": TME}
    return prepare.build(tables, patients, folds, fold, listed, prepare.MatrixSettings(**options))  # type: ignore[arg-type]


def changed(table: ExpressionTable, gene: str, values: dict[str, float]) -> ExpressionTable:
    frame = table.values.copy()
    for sample, value in values.items():
        frame.loc[gene, sample] = value
    return ExpressionTable(table.cohort, table.unit, frame, table.samples, table.counts)


def in_test_part(folds: pd.DataFrame, fold: int) -> list[str]:
    return folds.loc[folds["fold"] == fold, "patient_id"].tolist()


@pytest.mark.parametrize("unit", ["log2_tpm", "zscore"])
@pytest.mark.parametrize("part", ["test", "external"])
def test_a_gene_that_varies_only_outside_the_training_part_changes_nothing_fitted(
    unit: str, part: str
) -> None:
    tables, patients, folds = cohort(unit)
    before = build(tables, patients, folds)
    target = 0 if part == "test" else 1
    samples = in_test_part(folds, 0) if part == "test" else list(tables[1].values.columns)
    canary = "T05"
    assert part == "external" or set(before.obs_names[before.obs["part"] == "test"]) == set(samples)
    wild = {sample: 15.0 if i % 2 else 0.0 for i, sample in enumerate(samples)}
    tables[target] = changed(tables[target], canary, wild)
    after = build(tables, patients, folds)
    pd.testing.assert_frame_equal(after.var, before.var)
    train = (before.obs["part"] == "train").to_numpy()
    np.testing.assert_array_equal(after.X[train], before.X[train])
    assert not np.array_equal(after[samples, canary].X, before[samples, canary].X)


def test_a_gene_that_is_the_label_of_the_tested_patients_is_not_selected_by_it() -> None:
    tables, patients, folds = cohort()
    flat = dict.fromkeys(tables[0].values.columns, 5.0)
    label = {patient: 12.0 * (i % 2) for i, patient in enumerate(in_test_part(folds, 0))}
    tables[0] = changed(tables[0], "T05", flat | label)
    strict = build(tables, patients, folds)
    assert not strict.var.loc["T05", "highly_variable"] and strict.var.loc["T05", "sd"] == 0
    # The paper's protocol looks at every internal patient: there the leak is seen, which proves the canary sings.
    paper = build(tables, patients, folds, protocol="paper")
    assert paper.var.loc["T05", "highly_variable"] and paper.var.loc["T05", "sd"] > 1


def test_the_papers_protocol_gives_every_fold_the_same_genes_but_never_sees_the_external_cohort() -> None:
    tables, patients, folds = cohort()
    fits = [build(tables, patients, folds, fold, protocol="paper").var for fold in range(3)]
    pd.testing.assert_frame_equal(fits[0], fits[1])
    pd.testing.assert_frame_equal(fits[0], fits[2])
    tables[1] = expression("out", 8, 99)
    pd.testing.assert_frame_equal(build(tables, patients, folds, protocol="paper").var, fits[0])


def test_training_part_has_mean_0_and_sd_1_in_every_gene() -> None:
    tables, patients, folds = cohort()
    tables[0] = changed(tables[0], "E03", dict.fromkeys(tables[0].values.columns, 2.3))
    adata = build(tables, patients, folds, 1)
    train = np.asarray(adata[adata.obs["part"] == "train"].X, dtype=np.float64)
    moving = (adata.var["sd"] > 0).to_numpy()
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(axis=0)[moving], 1, atol=1e-6)
    assert list(adata.var_names[~moving]) == ["E03"]
    np.testing.assert_allclose(train[:, ~moving], 0)
    assert np.isfinite(adata.X).all()
    log2 = pd.concat([t.values.T for t in tables]).loc[adata.obs_names, adata.var_names].to_numpy()
    np.testing.assert_allclose(adata.layers["log2"], log2, rtol=1e-6)
    back = adata.X * adata.var["sd"].to_numpy() + adata.var["mean"].to_numpy()
    np.testing.assert_allclose(back[:, moving], log2[:, moving], atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_shuffled_rows_columns_and_tables_give_the_same_matrix(random) -> None:  # type: ignore[no-untyped-def]
    tables, patients, folds = cohort()
    expected = build(tables, patients, folds)
    shuffled = []
    for table in tables:
        rows, columns = list(table.values.index), list(table.values.columns)
        random.shuffle(rows)
        random.shuffle(columns)
        frame, samples = table.values.loc[rows, columns], table.samples.loc[columns]
        shuffled.append(ExpressionTable(table.cohort, table.unit, frame, samples, table.counts))
    random.shuffle(shuffled)
    found = build(shuffled, patients.sample(frac=1, random_state=1), folds.sample(frac=1, random_state=2))
    pd.testing.assert_frame_equal(found.obs, expected.obs)
    pd.testing.assert_frame_equal(found.var, expected.var)
    np.testing.assert_array_equal(found.X, expected.X)
    assert found.uns["pathduet"] == expected.uns["pathduet"]


def test_cohorts_meet_by_symbol_and_losses_are_counted() -> None:
    tables, patients, folds = cohort()
    short = tables[1].values.drop(index=["T00", "O000", "O001"])
    extra = pd.DataFrame(1.0, index=["ONLY_HERE"], columns=short.columns)
    tables[1] = ExpressionTable("out", "log2_tpm", pd.concat([extra, short[::-1]]), tables[1].samples, {})
    adata = build(tables, patients, folds)
    assert "T00" not in adata.var_names and "ONLY_HERE" not in adata.var_names
    sample = tables[1].values.columns[0]
    for gene in ("T01", "E29"):
        expected = tables[1].values.loc[gene, sample]
        assert adata[sample, gene].layers["log2"].item() == pytest.approx(expected, rel=1e-6)
    facts = json.loads(adata.uns["pathduet"])
    assert facts["genes_lost_in_alignment"] == {"in": 3, "out": 1}
    assert facts["subspaces"]["tumor"]["absent"] == 1


def test_thirty_percent_of_each_list_is_selected_by_dispersion_and_numbered_without_gaps() -> None:
    tables, patients, folds = cohort()
    var = build(tables, patients, folds, shared_genes="drop").var
    for name, size in (("tumor", 6), ("tme", 9)):
        mine = var[var["subspace"] == name]
        chosen = mine[mine["highly_variable"]]
        assert sorted(chosen["token_order"]) == list(range(size))
        assert chosen["dispersion_norm"].min() >= mine.loc[~mine["highly_variable"], "dispersion_norm"].max()
    assert not {"B0", "B1"} & set(var.index)


def test_shared_genes_go_into_each_of_their_subspaces(tmp_path: Path) -> None:
    tables, patients, folds = cohort()
    adata = build(tables, patients, folds, shared_genes="all", fraction=1.0)
    fold_matrix.write(tmp_path / "f.h5ad", adata)
    fold = fold_matrix.load(tmp_path / "f.h5ad")
    assert {name: set(genes) for name, genes in fold.genes.items()} == {"tumor": set(TUMOR), "tme": set(TME)}
    one, other = (fold.values[name][:, fold.genes[name].index("B1")] for name in fold.subspaces)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("names", [("z", "a", "m"), ("only",), tuple("hgfedcba")])
def test_any_number_of_subspaces_keeps_the_order_of_the_configuration(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    tables, patients, folds = cohort()
    genes = [gene for gene in [*TUMOR, *TME] if not gene.startswith("B")]
    listed = {name: genes[i :: len(names)] for i, name in enumerate(names)}
    adata = prepare.build(tables, patients, folds, 0, listed, prepare.MatrixSettings(fraction=0.5))
    fold_matrix.write(tmp_path / "f.h5ad", adata)
    fold = fold_matrix.load(tmp_path / "f.h5ad")
    assert fold.subspaces == names == tuple(fold.row_for("in00", ""))  # type: ignore[arg-type]
    for name in names:
        assert set(fold.genes[name]) < set(listed[name])
        np.testing.assert_array_equal(fold.values[name], adata[:, fold.genes[name]].X)
    scaling = GeneScaling.from_matrix(tmp_path / "f.h5ad")
    stored = json.loads(json.dumps(scaling.to_plain(), sort_keys=True))
    restored = GeneScaling.from_plain(stored)
    assert list(restored.genes) == list(names) and restored.genes == scaling.genes
    new = restored.apply(tables[1])
    assert new.subspaces == names
    outside = [fold.samples.index(sample) for sample in new.samples]
    for name in names:
        np.testing.assert_allclose(new.values[name], fold.values[name][outside], atol=1e-5)


def test_a_gene_of_two_of_three_subspaces_competes_in_those_two_alone() -> None:
    tables, patients, folds = cohort()
    listed = {"x": [*TUMOR[:10], "B0"], "y": [*TUMOR[10:20], "B0"], "z": TME[10:20]}
    for shared_genes, expected in (("all", {"x", "y"}), ("y", {"y"}), ("z", set()), ("drop", set())):
        chosen = prepare.MatrixSettings(shared_genes=shared_genes, fraction=1.0)
        genes = fold_matrix.selected(prepare.build(tables, patients, folds, 0, listed, chosen)).genes
        assert {name for name in genes if "B0" in genes[name]} == expected


def test_loaded_columns_follow_the_token_order(tmp_path: Path) -> None:
    tables, patients, folds = cohort()
    adata = build(tables, patients, folds)
    fold_matrix.write(tmp_path / "f.h5ad", adata)
    fold = fold_matrix.load(tmp_path / "f.h5ad")
    assert fold.samples == list(adata.obs_names) and fold.parts == adata.obs["part"].tolist()
    assert fold.cohorts == adata.obs["cohort"].tolist() and set(fold.slides) == {""}
    for name, genes in fold.genes.items():
        matrix = fold.values[name]
        assert adata.var.loc[genes, "token_order"].tolist() == list(range(len(genes)))
        np.testing.assert_array_equal(matrix, adata[:, genes].X)
        assert matrix.dtype == np.float32
    assert fold.settings["flavor"] == "seurat"


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.h5ad", "b.h5ad"):
        fold_matrix.write(tmp_path / name, build(*cohort()))
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()


def test_a_slide_takes_its_own_samples_else_the_mean_of_its_patients(tmp_path: Path) -> None:
    tables, patients, folds = cohort()
    samples = tables[0].samples.copy()
    samples.loc[["in00", "in01", "in02"], "patient_id"] = "in00"
    samples.loc[["in00", "in01"], "slide_id"] = ["s0", "s1"]
    tables[0] = ExpressionTable("in", "log2_tpm", tables[0].values, samples, {})
    fold_matrix.write(tmp_path / "f.h5ad", build(tables, patients, folds))
    fold = fold_matrix.load(tmp_path / "f.h5ad")
    own, mean = fold.row_for("in00", "s1"), fold.row_for("in00", "s9")
    assert own is not None and mean is not None
    for name, values in fold.values.items():
        np.testing.assert_array_equal(own[name], values[1])
        np.testing.assert_allclose(mean[name], values[:3].mean(axis=0))
    assert fold.row_for("nobody", "s0") is None
    assert fold.row_for("in01", "s1") is None


def test_seurat_v3_ranks_the_training_parts_counts() -> None:
    tables, patients, folds = cohort("counts")
    before = build(tables, patients, folds, flavor="seurat_v3")
    assert np.isfinite(before.var["dispersion_norm"]).all()
    assert any("CPM" in warning for warning in json.loads(before.uns["pathduet"])["warnings"])
    assert not before.var["dispersion_norm"].equals(build(tables, patients, folds).var["dispersion_norm"])


def test_samples_without_patient_or_fold_are_left_out_and_counted() -> None:
    tables, patients, folds = cohort()
    without = folds[folds["patient_id"] != "in03"]
    adata = build(tables, patients.drop(index="out02"), without)
    assert not {"in03", "out02"} & set(adata.obs_names)
    assert json.loads(adata.uns["pathduet"])["samples_without_patient_or_fold"] == 2


def test_tables_that_cannot_be_combined_are_refused_with_all_reasons() -> None:
    tables, patients, folds = cohort()
    mixed = [tables[0], expression("out", 8, 2, "zscore")]
    patients.loc["in05", "cohort"] = "out"
    with pytest.raises(InputError) as caught:
        build(mixed, patients, folds)
    text = str(caught.value)
    assert len(caught.value.problems) == 2 and "z-scored" in text and "in05" in text
    with pytest.raises(InputError, match="twice"):
        build([tables[0], tables[0]], cohort()[1], folds)


def test_no_common_gene_no_listed_gene_and_no_training_sample_are_refused() -> None:
    tables, patients, folds = cohort()
    renamed = ExpressionTable(
        "out", "log2_tpm", tables[1].values.add_prefix("X", axis=0), tables[1].samples, {}
    )
    with pytest.raises(InputError, match="no gene is in all cohorts"):
        build([tables[0], renamed], patients, folds)
    with pytest.raises(InputError, match="none of the 1 tumor genes"):
        listed = {"tumor": ["NONE"], "tme": TME}
        prepare.build(tables, patients, folds, 0, listed, prepare.MatrixSettings())
    with pytest.raises(InputError, match=r"all 5 measured inner genes are also .*; set .*shared_genes"):
        listed = {"tumor": TUMOR, "inner": TUMOR[:5]}
        prepare.build(tables, patients, folds, 0, listed, prepare.MatrixSettings())
    with pytest.raises(InputError, match="samples to select"):
        build(tables[1:], patients, folds)
    with pytest.raises(InputError, match="there are"):
        build(tables, patients, folds, 7)


def test_other_files_are_refused(tmp_path: Path) -> None:
    AnnData(np.ones((2, 2))).write_h5ad(tmp_path / "other.h5ad")
    for name in ("other.h5ad", "absent.h5ad"):
        with pytest.raises(InputError, match=name):
            fold_matrix.load(tmp_path / name)


@pytest.mark.data
def test_real_cohort_is_built_with_warnings_about_its_z_scores(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "cohort_composed"
    tables = [
        read_expression(folder / f"expression_{name}.tsv.gz", "zscore", name)
        for name in ("internal", "external")
    ]
    patients = read_patients(folder / "patients.tsv")
    internal = patients[patients["cohort"] == "internal"]
    diagnosis = tasks_of(resolve({"preset": "glioma"}))["diagnosis"]
    folds = make_folds(internal, task_labels(internal, diagnosis)["label"], folds=3, seed=42)
    adata = prepare.build(
        tables,
        patients,
        folds,
        0,
        gene_lists({"tumor": "shipped", "tme": "shipped"}),
        prepare.MatrixSettings(),
    )
    facts = json.loads(adata.uns["pathduet"])
    assert facts["parts"] == {"train": 24, "test": 12, "external": 12}
    assert facts["statistic"] == "interdecile_range" and facts["genes_aligned"] == 1544
    sizes = facts["subspaces"]
    assert [sizes[name]["selected"] for name in ("tumor", "tme")] == [
        round(0.3 * sizes[name]["candidates"]) for name in ("tumor", "tme")
    ]
    fold_matrix.write(tmp_path / "f.h5ad", adata)
    fold = fold_matrix.load(tmp_path / "f.h5ad")
    assert fold.values["tumor"].shape == (48, sizes["tumor"]["selected"])
    assert all(fold.row_for(patient, "any") is not None for patient in patients.index)


def test_labels_and_outcomes_never_touch_the_matrix() -> None:
    tables, patients, folds = cohort()
    facts = {"idh": "WT", "grade": "G4", "survival_days": 100.0, "event": 1.0}
    other = {"idh": ["WT", "Mutant"] * 16, "grade": "G2", "survival_days": np.arange(1.0, 33.0), "event": 0.0}
    for protocol in ("strict", "paper"):
        first = build(tables, patients.assign(**facts), folds, protocol=protocol)
        second = build(tables, patients.assign(**other), folds, protocol=protocol)
        np.testing.assert_array_equal(first.X, second.X)
        pd.testing.assert_frame_equal(first.var, second.var)


@pytest.mark.parametrize("unit", ["log2_tpm", "zscore"])
def test_a_gene_that_equals_the_label_ranks_like_the_same_values_in_any_order(unit: str) -> None:
    tables, patients, folds = cohort(unit)
    samples = list(tables[0].values.columns)
    label = np.array([3.0, 7.0] * 12) if unit == "log2_tpm" else np.array([-1.0, 1.0] * 12)
    train = [s for s in samples if s not in in_test_part(folds, 0)]
    as_label = changed(tables[0], "T05", dict(zip(samples, label)))
    of_train = [float(as_label.values.loc["T05", s]) for s in train]
    reshuffled = np.random.default_rng(3).permutation(of_train)
    shuffled = changed(as_label, "T05", dict(zip(train, map(float, reshuffled))))
    assert list(reshuffled) != of_train
    with_label = build([as_label, tables[1]], patients, folds)
    without = build([shuffled, tables[1]], patients, folds)
    fitted = ["dispersion_norm", "highly_variable", "mean", "sd"]
    pd.testing.assert_frame_equal(with_label.var[fitted], without.var[fitted])


def two_cohorts() -> tuple[list[ExpressionTable], pd.DataFrame, pd.DataFrame]:
    """Cohorts ``a`` and ``b`` (internal; b is shifted and stretched gene by gene) and ``out`` (external)."""
    tables = [expression("a", 18, 1), expression("b", 15, 2), expression("out", 8, 3)]
    rng = np.random.default_rng(5)
    shift, stretch = (
        rng.uniform(1, 3, (len(tables[1].values), 1)),
        rng.uniform(0.3, 0.8, (len(tables[1].values), 1)),
    )
    values = tables[1].values * stretch + shift
    tables[1] = ExpressionTable("b", "log2_tpm", values, tables[1].samples, tables[1].counts)
    names = {t.cohort: list(t.values.columns) for t in tables}
    ids = [p for own in names.values() for p in own]
    patients = pd.DataFrame({"cohort": [c for c, own in names.items() for _ in own]}, index=ids)
    internal = patients[patients["cohort"] != "out"]
    return tables, patients, make_folds(internal, pd.Series("x", index=internal.index), folds=3, seed=1)


def test_batch_correction_gives_internal_cohorts_one_mean_and_sd_learned_on_training_samples() -> None:
    tables, patients, folds = two_cohorts()
    plain, corrected = (
        build(tables, patients, folds, batch_correction=c) for c in ("none", "location_scale")
    )
    train = (corrected.obs["part"] == "train").to_numpy()
    moments = []
    for name in ("a", "b"):
        own = corrected.X[train & (corrected.obs["cohort"] == name).to_numpy()].astype(float)
        moments.append((own.mean(axis=0), own.std(axis=0)))
    np.testing.assert_allclose(moments[0][0], moments[1][0], atol=1e-5)
    np.testing.assert_allclose(moments[0][1], moments[1][1], rtol=1e-4)
    before = plain.X[train & (plain.obs["cohort"] == "b").to_numpy()].astype(float)
    assert np.abs(before.mean(axis=0)).max() > 0.3
    # a tested sample that becomes absurd changes itself and nothing else
    patient = in_test_part(folds, 0)[0]
    position = next(i for i, t in enumerate(tables) if patient in t.values.columns)
    tables[position] = changed(tables[position], "T05", {patient: 15.0})
    again = build(tables, patients, folds, batch_correction="location_scale")
    others = (again.obs["patient_id"] != patient).to_numpy()
    np.testing.assert_array_equal(again.X[others], corrected.X[others])
    pd.testing.assert_frame_equal(again.var, corrected.var)


def test_an_external_cohort_is_never_corrected_and_scaled_by_itself_only_if_asked() -> None:
    tables, patients, folds = two_cohorts()
    own = {}
    for scaling in ("training", "own"):
        adata = build(tables, patients, folds, batch_correction="location_scale", external_scaling=scaling)
        outside = (adata.obs["part"] == "external").to_numpy()
        own[scaling] = adata.X[outside].astype(float)
        log2 = adata.layers["log2"][outside].astype(float)
        np.testing.assert_allclose(log2, tables[2].values.loc[adata.var_names].T.to_numpy(), rtol=1e-5)
        if scaling == "training":
            expected = (log2 - adata.var["mean"].to_numpy()) / adata.var["sd"].to_numpy()
            np.testing.assert_allclose(own[scaling], expected, atol=1e-4)
        inside = adata.X[~outside]
    np.testing.assert_allclose(own["own"].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(own["own"].std(axis=0), 1, atol=1e-4)
    assert np.abs(own["training"].mean(axis=0)).max() > 0.3
    plain = build(tables, patients, folds, batch_correction="location_scale")
    np.testing.assert_array_equal(inside, plain.X[(plain.obs["part"] != "external").to_numpy()])


def test_the_table_of_the_split_counts_what_the_matrices_hold(tmp_path: Path) -> None:
    from pathduet.expression.subspace_table import subspace_table

    tables, patients, folds = cohort()
    made = [build(tables, patients, folds, k) for k in range(3)]
    for k, adata in enumerate(made):
        fold_matrix.write(tmp_path / f"fold-{k}.h5ad", adata)
    paths = [tmp_path / f"fold-{k}.h5ad" for k in range(3)]
    table = subspace_table(paths, {"tumor": [*TUMOR, "NOWHERE"], "tme": TME}, "drop").set_index("gene_symbol")
    assert table.loc["NOWHERE", ["measured", "folds_selected"]].tolist() == [0, 0]
    assert table.loc["B0", "subspace"] == "" and table.loc[
        "B0", ["in_tumor_list", "in_tme_list"]
    ].tolist() == [1, 1]
    for k, adata in enumerate(made):
        assert set(table.index[table[f"fold_{k}"] == 1]) == set(adata.var_names[adata.var["highly_variable"]])
    assert (table["folds_selected"] == table[["fold_0", "fold_1", "fold_2"]].sum(axis=1)).all()


def test_genes_are_found_by_entrez_id(tmp_path: Path) -> None:
    path = tmp_path / "e.tsv"
    path.write_text("entrez_id\tS1\tS2\n7157\t1.5\t2\n9232\t3\t4.5\n3460\t5\t6\n123456789\t7\t8\n")
    table = read_expression(path, "tpm", "x")
    assert list(table.values.index) == ["123456789", "IFNGR2", "PTTG1", "TP53"]
    assert table.values.loc["PTTG1"].tolist() == [3, 4.5]
