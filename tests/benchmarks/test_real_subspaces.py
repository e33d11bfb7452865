"""Subspaces on real expression: what a shuffle keeps, the interval over splits, one real split, and the page against its rows."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("real_subspaces")


def test_the_page_says_what_its_rows_hold(benchmark: Any, repository: Path) -> None:
    folder = repository / "docs" / "results"
    rows = [json.loads(line) for line in (folder / "real_subspaces.jsonl").read_text().splitlines()]
    assert len(rows) == len(benchmark.CANCERS) + len(benchmark.CLASSES)
    assert "\n".join(benchmark.body(rows)) in (folder / "real_subspaces.md").read_text(encoding="utf-8")


def test_a_shuffle_keeps_the_sizes_of_the_subspaces_and_how_many_genes_they_share(benchmark: Any) -> None:
    groups = {"tumor": list("abcdefgh"), "tme": list("ghijklmnopqrst")}
    shuffled = benchmark.shuffled(groups, np.random.default_rng(0))
    assert {name: len(set(own)) for name, own in shuffled.items()} == {"tumor": 8, "tme": 14}
    assert len(set(shuffled["tumor"]) & set(shuffled["tme"])) == 2
    assert set().union(*shuffled.values()) == set("abcdefghijklmnopqrst")
    assert set(shuffled["tumor"]) != set(groups["tumor"])


def test_the_interval_over_splits_is_that_of_the_corrected_test(benchmark: Any) -> None:
    differences = np.array([[1.0, 2.0], [2.5, 1.5], [3.0, 2.0]])
    low, high = benchmark.corrected_interval(differences)
    assert low + high == pytest.approx(2 * differences.mean())
    # shifted so that it ends at 0, a difference is on the edge of significance
    assert benchmark.corrected_resampled_p(differences - low) == pytest.approx(0.05)


@pytest.mark.data
@pytest.mark.slow
def test_one_split_of_a_real_cancer(benchmark: Any, test_data: Path) -> None:
    cancer = next(benchmark.cancers(test_data, "kirc"))
    split = benchmark.Split(cancer, cancer.folds(0), 0, 0)
    groups = benchmark.groupings(split.whole.genes["genes"], (0, 0))
    tested = set(split.folds.loc[split.folds["fold"] == 0, "patient_id"])
    parameters, risks = {}, {}
    for name in ("one", "two", "two shuffled"):
        table, parameters[name] = split.network(name, groups[name])
        assert set(table["patient_id"]) == tested and set(table["part"]) == {"test"}
        risks[name] = table.set_index("patient_id")["risk"]
        drawn = benchmark.draw([table], cancer.task, 1, 0) * 0 + 1
        [score] = benchmark.replicates(table, cancer.task, "patient", drawn)["c_index"]
        assert score > 0.6
    # the same genes in as many numbers, dealt out otherwise
    assert parameters["two"] == parameters["two shuffled"] < 1.1 * parameters["one"]
    assert set(groups["two shuffled"]["tumor"]) != set(groups["two"]["tumor"])
    assert not np.allclose(risks["two"], risks["two shuffled"])
    assert set(split.components()["patient_id"]) == tested
    # genes are scaled by the training part
    train = np.array([part == "train" for part in split.whole.parts])
    [values] = split.whole.values.values()
    assert np.abs(values[train].mean(axis=0)).max() < 1e-5
