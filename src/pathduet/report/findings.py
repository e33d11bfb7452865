"""Everything the report shows, read from a results folder; what is missing or broken becomes a gap with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from pathduet.catalogue import CATALOGUE, names
from pathduet.cohort.ledger import read_ledger
from pathduet.evaluation.collect import Collected, collect, read_metrics
from pathduet.evaluation.predictions import read_predictions
from pathduet.report.blocks import Block, gap
from pathduet.report.figures import TARGET
from pathduet.report.summary import read_table
from pathduet.results import HISTORY, PREDICTIONS, Results

_STAINS = ("haematoxylin", "eosin")
NETWORKS = names("method")
T = TypeVar("T")


class Findings:
    """What a results folder holds.

    Parameters
    ----------
    results : Path
    config : mapping
        The complete configuration: it tells what should be there.

    Attributes
    ----------
    gaps : dict of str to str
        File (relative to the results) to what is wrong with it.
    """

    def __init__(self, results: Path, config: Mapping[str, Any]) -> None:
        self.results, self.config = results, config
        self.gaps: dict[str, str] = {}

    def read(self, relative: str, reader: Callable[[Path], T]) -> T | None:
        """Return ``reader(results / relative)``, or None and a gap if it is not there or broken."""
        path = self.results / relative
        if not path.is_file():
            self.gaps[relative] = "not there"
            return None
        try:
            return reader(path)
        # A report is the place to say that a file is broken, whatever broke it.
        except Exception as error:
            self.gaps[relative] = f"cannot be read: {type(error).__name__}: {str(error)[:200]}"
            return None

    def gap(self, title: str, *paths: str, otherwise: str = "") -> Block:
        """Return a visible gap for files that could not be read, with the reason of each."""
        return gap(title, "; ".join(f"{path}: {self.gaps.get(path, otherwise)}" for path in paths))

    # --- what should be there

    @property
    def tasks(self) -> list[str]:
        """Configured tasks."""
        return list(self.config["tasks"])

    @property
    def names(self) -> list[str]:
        """Tasks, and "external" if external cohorts are configured."""
        external = bool(self.config["cohorts"]["external"]) and "survival" in self.tasks
        return [*self.tasks, *(["external"] if external else [])]

    @property
    def folds(self) -> range:
        """Fold numbers."""
        return range(self.config["split"]["folds"])

    def models(self, name: str) -> list[str]:
        """Return the models that a task's table (or "external") should have."""
        task = "survival" if name == "external" else name
        kind = "survival" if task == "survival" else "classification"
        compared = self.config.get("comparison", {})
        clinical = self.config["evaluation"]["clinical_baselines"]
        return [
            *NETWORKS, *compared.get("models", ()), *compared.get("own_models", ()),
            *(model for model in clinical if CATALOGUE[model].fits(task, kind)),
        ]  # fmt: skip

    # --- what is there

    @cached_property
    def ledger(self) -> pd.DataFrame | None:
        """The slide ledger."""
        return self.read("ledger.tsv", read_ledger)

    @cached_property
    def participation(self) -> pd.DataFrame | None:
        """Who took part in what."""
        return self.read("participation.tsv", _read_text_tsv)

    @cached_property
    def provenance(self) -> dict[str, Any] | None:
        """What the run was made of."""
        return self.read("provenance.json", read_json)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Result tables by name."""
        tables = {name: self.read(f"tables/{name}.tsv", read_table) for name in self.names}
        return {name: table for name, table in tables.items() if table is not None}

    @cached_property
    def collected(self) -> dict[str, Collected]:
        """Metrics and predictions by task, and of "external"."""
        return {name: self._collect(name) for name in self.names}

    def _collect(self, name: str) -> Collected:
        results, external = Results(self.results), name == "external"
        task = "survival" if external else name
        collected = collect(results, task, self.models(name), len(self.folds), external=external)
        metrics = self.read(f"metrics/{name}.json", lambda _: read_metrics(results, name)) or {}
        for (_, model, fold), one in metrics.items():
            if "failed" not in one:
                collected.metrics[(model, fold)] = one
            elif isinstance(fold, int):
                collected.failures[(model, fold)] = str(one["failed"])
                collected.predictions.pop((model, fold), None)
        return collected

    def ensemble(self, model: str) -> pd.DataFrame | None:
        """Return the external predictions of a model's ensemble."""
        return self.read(f"external/survival/{model}/ensemble/{PREDICTIONS}", read_predictions)

    def history(self, task: str, model: str, fold: int) -> pd.DataFrame | None:
        """Return a training's losses."""
        return self.read(f"models/{task}/{model}/fold-{fold}/{HISTORY}", _read_tsv)

    @cached_property
    def genes(self) -> dict[int, pd.DataFrame]:
        """``var`` of each fold's expression file."""
        folds = {fold: self.read(f"genes/fold-{fold}.h5ad", _read_genes) for fold in self.folds}
        return {fold: var for fold, var in folds.items() if var is not None}

    @cached_property
    def stains(self) -> pd.DataFrame:
        """slide_id, cohort, stain, r, g, b; the target of normalisation too."""
        rows: list[list[Any]] = []
        targets = set()
        used = [] if self.ledger is None else self.ledger[self.ledger["status"] == "ok"].to_dict("records")
        for slide in used:
            content = self.read(f"slides/{slide['slide_id']}/stain.json", read_json) or {}
            vectors = (content.get("source") or {}).get("matrix") or ()
            for name, vector in zip(_STAINS, vectors, strict=False):
                rows.append([slide["slide_id"], slide["cohort"], name, *map(float, vector)])
            wanted = (content.get("target") or {}).get("matrix") or ()
            targets |= {(name, *map(float, v)) for name, v in zip(_STAINS, wanted, strict=False)}
        rows += [["", TARGET, *target] for target in sorted(targets)]
        return pd.DataFrame(rows, columns=["slide_id", "cohort", "stain", "r", "g", "b"])

    @cached_property
    def benchmarks(self) -> pd.DataFrame:
        """rule, job, seconds, max_rss_mb: of ``benchmarks/<rule>/<job>.tsv`` or ``benchmarks/<rule>.tsv``."""
        rows = []
        parent = self.results / "benchmarks"
        for path in sorted(parent.rglob("*.tsv")):
            relative = path.relative_to(parent)
            table = self.read(f"benchmarks/{relative.as_posix()}", _read_tsv)
            if table is None or "s" not in table:
                continue
            rule = relative.parts[0] if len(relative.parts) > 1 else relative.stem
            memory = pd.to_numeric(table["max_rss"], errors="coerce").max() if "max_rss" in table else None
            rows.append([rule, relative.with_suffix("").as_posix(), float(table["s"].sum()), memory])
        return pd.DataFrame(rows, columns=["rule", "job", "seconds", "max_rss_mb"])


def read_json(path: Path) -> Any:
    """Return a JSON file's content."""
    return json.loads(path.read_text(encoding="utf-8"))


def _read_genes(path: Path) -> pd.DataFrame:
    import h5py
    from anndata.io import read_elem

    with h5py.File(path) as file:
        return read_elem(file["var"])


def _read_tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t")


def _read_text_tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
