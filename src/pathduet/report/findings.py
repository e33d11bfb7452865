"""All contents of the report, read from a results folder; missing or broken files become gaps with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from pathduet.catalogue import catalogue_of, clinical_models, names
from pathduet.cohort.labels import task_labels
from pathduet.cohort.ledger import read_ledger
from pathduet.cohort.sheets import read_patients
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.checksums import checked
from pathduet.core.faults import raise_machine_fault
from pathduet.core.provenance import shown_path
from pathduet.evaluation.collect import Collected, collect, read_metrics
from pathduet.evaluation.predictions import read_predictions
from pathduet.report.blocks import Block, gap
from pathduet.report.figures import TARGET
from pathduet.report.summary import read_left_out, read_table
from pathduet.result_tables import ResultTable, whole_run_tables
from pathduet.results import HISTORY, PREDICTIONS, Results

_STAINS = ("haematoxylin", "eosin")
T = TypeVar("T")


class Findings:
    """The contents of a results folder.

    Parameters
    ----------
    results : Path
    config : mapping
        The complete configuration, with the classes that the plan found: it determines the expected files.

    Attributes
    ----------
    tasks : dict of str to Task
    catalogue : dict of str to Model
        Every model of the run.
    wanted : dict of str to ResultTable
        The tables on the page: one per task, then one per task on the external cohorts.
    has_slides, has_expression : bool
        Whether the configuration names slides, and expression.
    gaps : dict of str to str
        File (relative to the results) to its problem.
    """

    def __init__(self, results: Path, config: Mapping[str, Any]) -> None:
        self.results, self.config = results, config
        self.tasks: dict[str, Task] = tasks_of(config)
        self.catalogue = catalogue_of(config)
        tables = whole_run_tables(config)
        self.wanted: dict[str, ResultTable] = {name: table for name, table in tables.items() if table.task}
        self.has_slides = config["sheets"]["slides"] is not None
        self.has_expression = bool(config["expression"]["tables"])
        self.gaps: dict[str, str] = {}
        self._predictions: dict[str, dict[str, list[pd.DataFrame]]] = {}

    def read(self, relative: str, reader: Callable[[Path], T]) -> T | None:
        """Return ``reader(results / relative)``, or None and a gap if it is missing or broken."""
        return self._read(relative, self.results / relative, reader)

    def _read(self, name: str, path: Path, reader: Callable[[Path], T]) -> T | None:
        if not checked(path).is_file():  # a damaged file must be recreated, not left out
            self.gaps[name] = "not there"
            return None
        try:
            return reader(path)
        # The report must show that a file is broken, whatever the cause.
        except Exception as error:
            raise_machine_fault(error, name)
            self.gaps[name] = f"cannot be read: {type(error).__name__}: {str(error)[:200]}"
            return None

    def gap(self, title: str, *paths: str, otherwise: str = "") -> Block:
        """Return a visible gap for files that could not be read, with the reason of each."""
        return gap(title, "; ".join(f"{path}: {self.gaps.get(path, otherwise)}" for path in paths))

    # --- expected contents

    def task_of(self, name: str) -> Task:
        """Return the task of a table."""
        return self.tasks[self.wanted[name].task]

    def title_of(self, name: str) -> str:
        """Return the heading of a table's section."""
        table = self.wanted[name]
        return table.title if table.external else self.tasks[table.task].title

    @property
    def folds(self) -> range:
        """Fold numbers."""
        return range(self.config["split"]["folds"])

    def models(self, name: str) -> list[str]:
        """Return the models that a table should contain: those that suit its task and were not left out."""
        task, compared, left_out = self.task_of(name), self.config["comparison"], set(self.left_out["model"])
        wanted = [
            *names("method"),
            *compared["models"],
            *compared["own_models"],
            *clinical_models(self.config),
        ]
        models = [self.catalogue[model] for model in wanted if model not in left_out]
        # as in the tables, regressions come last
        models.sort(key=lambda model: not model.is_network)
        return [model.name for model in models if model.fits(task)]

    def networks(self, name: str) -> list[str]:
        """Return the networks of a table, the method's first."""
        return [model for model in self.models(name) if self.catalogue[model].is_network]

    @cached_property
    def left_out(self) -> pd.DataFrame:
        """Models that the run could not train: model, reason."""
        return read_left_out(self.results)

    # --- existing contents

    @cached_property
    def ledger(self) -> pd.DataFrame | None:
        """The slide ledger."""
        return self.read("ledger.tsv", read_ledger)

    @cached_property
    def participation(self) -> pd.DataFrame | None:
        """Participation of patients and slides."""
        return self.read("participation.tsv", _read_text_tsv)

    @property
    def sheet(self) -> str:
        """The patients' sheet, or the slides' if it serves as both, as shown on the page."""
        return shown_path(self._sheet, self.results)

    @property
    def _sheet(self) -> Path:
        """Path of the sheet; it is relative to the folder where the run was started."""
        return Path(self.config["sheets"]["patients"] or self.config["sheets"]["slides"])

    @cached_property
    def patients(self) -> pd.DataFrame | None:
        """The patients, with every column of their sheet."""
        return self._read(self.sheet, self._sheet, read_patients)

    @cached_property
    def labels(self) -> dict[str, pd.DataFrame]:
        """Every patient's label, or why there is none, by task."""
        patients = self.patients
        if patients is None:
            return {}
        tasks = self.tasks.items()
        found = self._read(
            self.sheet,
            self._sheet,
            lambda _: {name: task_labels(patients, task) for name, task in tasks},
        )
        return found or {}

    @cached_property
    def provenance(self) -> dict[str, Any] | None:
        """The run's inputs, settings and versions."""
        return self.read("provenance.json", read_json)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Result tables by name."""
        tables = {name: self.read(f"tables/{name}.tsv", read_table) for name in self.wanted}
        return {name: table for name, table in tables.items() if table is not None}

    @cached_property
    def collected(self) -> dict[str, Collected]:
        """Metrics and predictions by table."""
        return {name: self._collect(name) for name in self.wanted}

    def _collect(self, name: str) -> Collected:
        results, external = Results(self.results), self.wanted[name].external
        collected = collect(
            results, self.task_of(name), self.models(name), len(self.folds), external=external
        )
        metrics = self.read(f"metrics/{name}.json", lambda _: read_metrics(results, name)) or {}
        for (_, model, fold), one in metrics.items():
            if "failed" not in one:
                collected.metrics[(model, fold)] = one
            elif isinstance(fold, int):
                collected.failures[(model, fold)] = str(one["failed"])
                collected.predictions.pop((model, fold), None)
        return collected

    def predictions(self, name: str) -> dict[str, list[pd.DataFrame]]:
        """Return each model's predictions: of every fold's test part, or the ensemble's on the external cohorts."""
        if name not in self._predictions:
            found = self._find_predictions(name)
            self._predictions[name] = {model: parts for model, parts in found.items() if parts}
        return self._predictions[name]

    def _find_predictions(self, name: str) -> dict[str, list[pd.DataFrame]]:
        if not self.wanted[name].external:
            by_fold = sorted(self.collected[name].predictions.items(), key=lambda item: item[0][1])
            return {m: [rows for (model, _), rows in by_fold if model == m] for m in self.models(name)}
        ensembles = {m: self._ensemble(self.wanted[name].task, m) for m in self.models(name)}
        return {m: [rows] for m, rows in ensembles.items() if rows is not None and len(rows)}

    def _ensemble(self, task: str, model: str) -> pd.DataFrame | None:
        return self.read(f"external/{task}/{model}/ensemble/{PREDICTIONS}", read_predictions)

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
        """slide_id, cohort, stain, r, g, b; including the target of normalisation."""
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
        """rule, job, seconds, max_rss_mb: ``benchmarks/<rule>/<job>.tsv`` or ``benchmarks/<rule>.tsv``."""
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


def read_text(path: Path) -> str:
    """Return a text file's content."""
    return path.read_text(encoding="utf-8")


def _read_genes(path: Path) -> pd.DataFrame:
    import h5py
    from anndata.io import read_elem

    with h5py.File(path) as file:
        return read_elem(file["var"])


def _read_tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t")


def _read_text_tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
