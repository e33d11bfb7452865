"""Sites stay on one side, the field's split files survive a round trip, and strata follow the configured tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathduet.cohort.make_folds import folds_of, make_folds
from pathduet.cohort.published_splits import export_splits, import_splits
from pathduet.cohort.sheets import SlideRow
from pathduet.cohort.site_folds import divided_sites, sites_of
from pathduet.cohort.tasks import tasks_of
from pathduet.core.config import preset, preset_names, resolve
from pathduet.core.errors import InputError


def tcga(sizes: dict[str, int]) -> tuple[pd.DataFrame, pd.Series]:
    ids = [f"TCGA-{site}-{i:04d}" for site, n in sizes.items() for i in range(n)]
    labels = pd.Series(["a" if int(p[-4:]) % 3 else "b" for p in ids], index=ids)
    return pd.DataFrame({"cohort": "tcga"}, index=ids), labels


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 12), min_size=6, max_size=25), st.integers(2, 4), st.integers(0, 2**31 - 1))
def test_no_site_is_on_both_sides_and_the_labels_stay_even(counts: list[int], folds: int, seed: int) -> None:
    patients, labels = tcga({f"{i:02d}": n for i, n in enumerate(counts)})
    table = make_folds(patients, labels, folds=folds, seed=seed, sites=sites_of(patients.index, ()))
    site = table["patient_id"].str[5:7]
    assert all(len(set(own)) == 1 for _, own in table["fold"].groupby(site))
    assert table["patient_id"].tolist() == sorted(patients.index)
    for label in ("a", "b"):
        of_label = table[labels.loc[table["patient_id"]].to_numpy() == label]
        per_fold = of_label["fold"].value_counts().reindex(range(folds), fill_value=0)
        largest = of_label["patient_id"].str[5:7].value_counts().max()
        # no fold can be closer to its share than whole sites allow; greedy dealing stays within two of the largest
        assert (per_fold - len(of_label) / folds).abs().max() <= 2 * largest + 1
    again = make_folds(
        patients.iloc[::-1], labels, folds=folds, seed=seed, sites=sites_of(patients.index, ())
    )
    pd.testing.assert_frame_equal(table, again)


def test_patients_without_a_tcga_barcode_are_sites_of_their_own() -> None:
    patients = pd.DataFrame({"cohort": "x"}, index=[f"P{i:02d}" for i in range(12)])
    labels = pd.Series(["a", "b"] * 6, index=patients.index)
    table = make_folds(patients, labels, folds=3, seed=1, sites=sites_of(patients.index, ()))
    assert table["fold"].value_counts().tolist() == [4, 4, 4]


def test_barcodes_alone_tell_that_folds_divide_hospitals_and_no_preset_decides_it() -> None:
    patients, labels = tcga({"02": 6, "06": 6, "14": 6})
    assert divided_sites(make_folds(patients, labels, folds=3, seed=1), ()) == ["02", "06", "14"]
    kept = make_folds(patients, labels, folds=3, seed=1, sites=sites_of(patients.index, ()))
    assert divided_sites(kept, ()) == []
    assert not [name for name in preset_names() if "split" in preset(name)]


def test_a_site_is_the_sheets_or_else_the_barcodes() -> None:
    slides = [SlideRow(f"s{i}", p, "x", site=site) for i, (p, site) in enumerate(
        [("TCGA-06-0001", "Lyon"), ("TCGA-06-0001", ""), ("P1", "Lyon"), ("P2", "Graz"), ("P2", "Oslo")])]  # fmt: skip
    assert sites_of(["TCGA-06-0001", "TCGA-06-0002", "P1", "P3"], slides) == {
        "TCGA-06-0001": "Lyon", "TCGA-06-0002": "06", "P1": "Lyon",
    }  # fmt: skip
    with pytest.raises(InputError, match="patient P2: sites Graz, Oslo"):
        sites_of(["P1", "P2"], slides)

    def at(sites: dict[str, str]) -> list[SlideRow]:
        return [
            SlideRow(f"s{i}", p, "x", site=one)
            for i, (p, of) in enumerate(sites.items())
            for one in of.split()
        ]

    folds = pd.DataFrame({"patient_id": list("abcdef"), "fold": [0, 1, 0, 0, 1, 0]})
    assert divided_sites(folds, at({"a": "x", "b": "x", "c": "y", "d": "y"})) == ["x"]
    assert divided_sites(folds, at(dict.fromkeys("abcd", "x"))) == []  # one hospital is on every side
    # a patient of two hospitals is told, not refused, while folds are not by site
    assert divided_sites(folds, at({"a": "x", "b": "x y", "c": "z"})) == ["x"]
    patients = pd.DataFrame({"cohort": "x"}, index=[f"P{i:02d}" for i in range(12)])
    sites = {patient: f"site-{i // 3}" for i, patient in enumerate(patients.index)}
    labels = pd.Series("a", index=patients.index)
    assert divided_sites(make_folds(patients, labels, folds=3, seed=1), at(sites)) != []
    assert divided_sites(make_folds(patients, labels, folds=3, seed=1, sites=sites), at(sites)) == []


def test_a_label_of_too_few_sites_and_the_papers_protocol_are_refused() -> None:
    patients, labels = tcga({"06": 9, "DU": 9})
    with pytest.raises(InputError, match="patients of 2 sites for 3 folds"):
        make_folds(patients, labels, folds=3, sites=sites_of(patients.index, ()))
    with pytest.raises(InputError, match="use protocol strict"):
        make_folds(patients, labels, folds=2, sites=sites_of(patients.index, ()), protocol="paper")


def test_folds_survive_the_fields_format(tmp_path: Path) -> None:
    patients, labels = tcga({"06": 7, "DU": 6})
    folds = make_folds(patients, labels, folds=3, seed=5)
    paths = export_splits(tmp_path, folds)
    assert [p.name for p in paths] == ["splits_0.csv", "splits_1.csv", "splits_2.csv"]
    assert paths[0].read_text().splitlines()[0] == ",train,val"
    back = import_splits(tmp_path)
    pd.testing.assert_frame_equal(back, folds[["patient_id", "fold"]])


def test_clams_layout_tests_on_its_test_column(tmp_path: Path) -> None:
    for k, (train, test) in enumerate([("A,B", "C"), ("A,C", "B"), ("B,C", "A")]):
        first, second = train.split(",")
        (tmp_path / f"splits_{k}.csv").write_text(f",train,val,test\n0,{first},,{test}\n1,{second},,\n")
    assert import_splits(tmp_path).set_index("patient_id")["fold"].to_dict() == {"C": 0, "B": 1, "A": 2}


def test_clams_slides_are_read_by_patient_and_written_back(tmp_path: Path) -> None:
    patient_of = {f"{patient}-s{i}": patient for patient in ("A", "B", "C", "D") for i in range(2)}
    folds = pd.DataFrame({"patient_id": ["A", "B", "C", "D"], "fold": [0, 0, 1, 1]})
    paths = export_splits(tmp_path, folds, patient_of)
    first = pd.read_csv(paths[0], index_col=0)
    assert {name: list(first[name].dropna()) for name in first} == {
        "train": ["D-s0", "D-s1"], "val": ["C-s0", "C-s1"], "test": ["A-s0", "A-s1", "B-s0", "B-s1"],
    }  # fmt: skip
    pd.testing.assert_frame_equal(import_splits(tmp_path, patient_of), folds)
    # slides of one patient on both sides, and a slide that the sheet does not have
    moved = paths[0].read_text().replace("C-s1", "A-s1").replace("D-s1", "Z-s1")
    paths[0].write_text(moved)
    with pytest.raises(InputError, match="patient A: appears twice"):
        import_splits(tmp_path, patient_of)


def test_splits_drawn_anew_are_refused_in_a_few_lines(tmp_path: Path) -> None:
    ids = [f"P{i:03d}" for i in range(300)]
    for k in range(3):
        (tmp_path / f"splits_{k}.csv").write_text(
            ",train,test\n" + "\n".join(f"{i},{p},{ids[i] if i < 30 else ''}" for i, p in enumerate(ids[30:]))
        )
    with pytest.raises(
        InputError, match="splits drawn anew for each file are not a cross-validation"
    ) as found:
        import_splits(tmp_path)
    assert len(found.value.problems) == 2 and "270 patients (P030, P031" in str(found.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["0,A,B\n", "0,B,B\n"], "appears twice"),
        (["0,A,B\n1,C,\n", "0,B,A\n1,C,\n"], "patient C: tested in 0 folds"),
        (["0,A,B\n1,C,\n", "0,B,A\n1,,C\n", "0,A,C\n1,B,\n"], "patient C: tested in 2 folds"),
        (["0,A,B\n1,C,\n", "0,B,A\n1,,C\n"], None),
        (["0,A,B\n1,C,\n", "0,C,A\n1,,C\n"], "appears twice"),
        (["0,A,B\n", "0,B,A\n1,C,\n", "0,A,C\n1,B,\n"], "splits_0.csv, patient C: in neither part"),
        (["0,A,B\n"], "without gaps"),
    ],
)  # fmt: skip
def test_split_files_that_leak_or_forget_patients_are_refused(
    tmp_path: Path, files: list[str], message: str | None
) -> None:
    for k, body in enumerate(files):
        (tmp_path / f"splits_{k}.csv").write_text(",train,val\n" + body)
    if message is None:
        assert import_splits(tmp_path)["fold"].tolist() == [1, 0, 1]
        return
    with pytest.raises(InputError, match=message):
        import_splits(tmp_path)


TASKS = tasks_of(resolve({}))


def configured(tasks: list[str], **changes: Any) -> dict[str, Any]:
    base = {"folds": 3, "file": None, "sites": None, "seed": 1, "protocol": "strict", "internal": ["x"],
            "tasks": [TASKS[name].to_plain() for name in tasks]}  # fmt: skip
    return {**base, **changes}


def small_class() -> pd.DataFrame:
    """24 patients, one of whom alone is an oligodendroglioma."""
    rows = [
        {"idh": "WT", "grade": f"G{2 + i % 3}", "survival_days": 100.0 + i, "event": float(i % 2)}
        for i in range(24)
    ]
    rows[5] |= {"idh": "Mutant", "codel_1p19q": "codel"}
    table = pd.DataFrame(rows, index=[f"P{i:02d}" for i in range(24)]).assign(cohort="x", cdkn2a=0.0)
    return table.reindex(
        columns=["cohort", "idh", "codel_1p19q", "cdkn2a", "grade", "survival_days", "event"]
    )


@pytest.mark.parametrize("tasks", [["survival"], ["grading"], ["grading", "survival"]])
def test_a_small_diagnosis_class_matters_only_to_runs_that_diagnose(tasks: list[str]) -> None:
    patients = small_class()
    with pytest.raises(InputError, match="oligodendroglioma"):
        folds_of(patients, configured([*tasks, "diagnosis"]))
    folds = folds_of(patients, configured(tasks)).set_index("patient_id")
    assert folds["fold"].value_counts().tolist() == [8, 8, 8]
    kind = patients["grade"] if "grading" in tasks else patients["event"]
    for _, group in folds["fold"].groupby(kind):
        counts = group.value_counts().reindex(range(3), fill_value=0)
        assert counts.max() - counts.min() <= 1
