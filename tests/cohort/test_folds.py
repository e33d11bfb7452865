"""Folds: every patient is tested once, classes are even, and a user's own folds are checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from pathduet.cohort.folds import read_folds, write_folds
from pathduet.cohort.make_folds import import_folds, make_folds
from pathduet.core.errors import InputError


def patients_of(sizes: dict[tuple[str, str | None], int]) -> tuple[pd.DataFrame, pd.Series]:
    """Patients with `sizes[(cohort, label)]` of each kind, in an order that means nothing."""
    rows = [(cohort, label) for (cohort, label), size in sizes.items() for _ in range(size)]
    index = [f"P{i:03d}" for i in np.random.default_rng(0).permutation(len(rows))]
    table = pd.DataFrame(rows, columns=["cohort", "label"], index=index).sort_index()
    return table[["cohort"]], table["label"]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["tcga", "ivy", "xx"]), st.sampled_from(["a", "b", "c", None])),
        st.integers(0, 17),
        min_size=1,
    ),
    st.integers(2, 5),
    st.integers(0, 2**32 - 1),
)
def test_each_patient_is_tested_once_and_labels_cohorts_and_sizes_are_even(
    sizes: dict[tuple[str, str | None], int], folds: int, seed: int
) -> None:
    sizes = {kind: size + folds for kind, size in sizes.items()}
    patients, labels = patients_of(sizes)
    table = make_folds(patients, labels, folds=folds, seed=seed)
    assert table["patient_id"].tolist() == sorted(patients.index)
    assert set(table["fold"]) == set(range(folds))
    table["label"] = labels.fillna("none").loc[table["patient_id"]].to_numpy()
    for columns in (["label"], ["label", "cohort"], []):
        for _, group in table.groupby(columns) if columns else [((), table)]:
            tested = np.bincount(group["fold"], minlength=folds)
            assert abs(tested - len(group) / folds).max() < 1


def test_same_seed_same_folds_whatever_the_row_order() -> None:
    patients, labels = patients_of({("tcga", "a"): 20, ("tcga", "b"): 13, ("ivy", "a"): 9})
    first = make_folds(patients, labels, folds=3, seed=7)
    shuffled = patients.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(make_folds(shuffled, labels, folds=3, seed=7), first)
    assert not make_folds(patients, labels, folds=3, seed=8)["fold"].equals(first["fold"])


def test_papers_folds_are_scikit_learns_kfold_in_each_cohort() -> None:
    patients, labels = patients_of({("tcga", "a"): 20, ("tcga", "b"): 13, ("ivy", "a"): 10})
    table = make_folds(patients, labels, folds=3, seed=42, protocol="paper").set_index("patient_id")
    for cohort in ("tcga", "ivy"):
        ids = sorted(patients.index[patients["cohort"] == cohort])
        for fold, (_, test) in enumerate(KFold(3, shuffle=True, random_state=42).split(ids)):
            assert set(table.loc[[ids[i] for i in test], "fold"]) == {fold}


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_classes_smaller_than_the_folds_are_all_named_with_ways_out(protocol: str) -> None:
    patients, labels = patients_of({("tcga", "a"): 9, ("tcga", "b"): 2, ("tcga", "c"): 1, ("tcga", None): 1})
    with pytest.raises(InputError) as caught:
        make_folds(patients, labels, folds=3, seed=1, protocol=protocol)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "class b: 2 patients for 3 folds" in text and "class c: 1 patient for 3 folds" in text
    assert len(caught.value.problems) == 2 and "split.folds" in text and "split.file" in text


def test_senseless_requests_are_refused() -> None:
    patients, labels = patients_of({("tcga", "a"): 9})
    with pytest.raises(InputError, match="at least 2"):
        make_folds(patients, labels, folds=1)
    with pytest.raises(InputError, match="no patient"):
        make_folds(patients.iloc[:0], labels, folds=3)
    with pytest.raises(InputError, match="P000 twice"):
        make_folds(pd.concat([patients, patients.iloc[:1]]), labels, folds=3)
    small, few = patients_of({("tcga", "a"): 9, ("ivy", "a"): 2})
    with pytest.raises(InputError, match="cohort ivy"):
        make_folds(small, few, folds=3, protocol="paper")


def test_folds_survive_the_file(tmp_path: Path) -> None:
    patients, labels = patients_of({("tcga", "a"): 9, ("tcga", None): 5})
    table = make_folds(patients, labels, folds=3, seed=1)
    write_folds(tmp_path / "folds.tsv", table)
    pd.testing.assert_frame_equal(read_folds(tmp_path / "folds.tsv"), table)
    imported = import_folds(tmp_path / "folds.tsv", patients, labels, table["fold"].nunique())
    pd.testing.assert_frame_equal(imported, table)


def test_a_users_folds_need_two_columns_only(tmp_path: Path) -> None:
    patients, labels = patients_of({("tcga", "a"): 2, ("ivy", None): 2})
    lines = [f"{patient}\tnote\t{i % 2}" for i, patient in enumerate(reversed(patients.index))]
    (tmp_path / "own.tsv").write_text("patient_id\tnote\tfold\n" + "\n".join(lines) + "\n")
    table = import_folds(tmp_path / "own.tsv", patients, labels, 2)
    assert table["fold"].tolist() == [1, 0, 1, 0]
    assert set(table["stratum"]) == {"a|tcga", "unlabelled|ivy"}


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("patient_id\tpart\nP000\t0\n", ["needs fold too"]),
        ("patient_id\tfold\nP000\t0\nP000\t1\n", ["P000: more than one row"]),
        ("patient_id\tfold\nP000\t0.5\n\t-1\n", ["row 2, fold", "row 3, patient_id", "row 3, fold"]),
        ("patient_id\tfold\nP000\t1\nP001\t2\nP002\t2\n", ["folds 1, 2"]),
        ("patient_id\tfold\nP000\t0\nP001\t2\nP002\t2\n", ["folds 0, 2"]),
        ("patient_id\tfold\nP000\t0\nP001\t0\nP002\t0\n", ["folds 0"]),
        ("patient_id\tfold\n", ["folds none"]),
        (
            "patient_id\tfold\nP000\t0\nXX\t1\n",
            ["patient XX: is in no", "P001: has no fold", "P002: has no fold"],
        ),
    ],
)
def test_everything_wrong_with_a_users_folds_is_named(text: str, messages: list[str], tmp_path: Path) -> None:
    patients, labels = patients_of({("tcga", "a"): 3})
    (tmp_path / "own.tsv").write_text(text)
    with pytest.raises(InputError) as caught:
        import_folds(tmp_path / "own.tsv", patients, labels, 2)
    assert len(caught.value.problems) == len(messages)
    for message in messages:
        assert message in str(caught.value)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folds\.tsv: no such file"):
        read_folds(tmp_path / "folds.tsv")
