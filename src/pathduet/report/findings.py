"""Everything the report shows, read from a results folder; what is missing or broken becomes a hole with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from pathduet.catalogue import CATALOGUE, names
from pathduet.cohort.ledger import read_ledger
from pathduet.evaluation.collect import Collected, collect, read_metrics
from pathduet.evaluation.predictions import read_predictions
from pathduet.report.blocks import Block, hole
from pathduet.report.figures import TARGET
from pathduet.report.summary import read_table
from pathduet.results import PREDICTIONS, Results

_STAINS = ("haematoxylin", "eosin")
NETWORKS = names("method")
T = TypeVar("T")


@dataclass
class Findings:
    """What a results folder holds.

    Attributes
    ----------
    tasks, clinical : list of str
        Configured tasks and clinical baselines.
    n_folds : int
    external : bool
        Whether external cohorts are configured.
    ledger, participation : DataFrame or None
    tables : dict of str to DataFrame
        ``results/tables/<name>.tsv`` by name.
    collected : dict of str to Collected
        Metrics and predictions by task, and of "external".
    ensembles : dict of str to DataFrame
        External ensemble predictions by model.
    genes : dict of int to DataFrame
        ``var`` of each fold's expression file.
    stains : DataFrame
        slide_id, cohort, stain, r, g, b; the target of normalisation too.
    histories : dict of (task, model, fold) to DataFrame
    benchmarks : DataFrame
        rule, job, seconds, max_rss_mb.
    provenance : dict or None
    holes : dict of str to str
        File (relative to the results) to what is wrong with it.
    """

    results: Path
    config: Mapping[str, Any]
    tasks: list[str]
    clinical: list[str]
    n_folds: int
    external: bool
    ledger: pd.DataFrame | None = None
    participation: pd.DataFrame | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    collected: dict[str, Collected] = field(default_factory=dict)
    ensembles: dict[str, pd.DataFrame] = field(default_factory=dict)
    genes: dict[int, pd.DataFrame] = field(default_factory=dict)
    stains: pd.DataFrame = field(default_factory=pd.DataFrame)
    histories: dict[tuple[str, str, int], pd.DataFrame] = field(default_factory=dict)
    benchmarks: pd.DataFrame = field(default_factory=pd.DataFrame)
    provenance: dict[str, Any] | None = None
    holes: dict[str, str] = field(default_factory=dict)

    def models(self, name: str) -> list[str]:
        """Return the models that a task's table (or "external") should have."""
        task = "survival" if name == "external" else name
        compared = self.config.get("comparison", {})
        others = [*compared.get("models", ()), *compared.get("own_models", ())]
        kind = "survival" if task == "survival" else "classification"
        clinical = [model for model in self.clinical if CATALOGUE[model].fits(task, kind)]
        return [*NETWORKS, *others, *clinical]

    def read(self, relative: str, reader: Callable[[Path], T]) -> T | None:
        """Return ``reader(results / relative)``, or None and a hole if it is not there or broken."""
        path = self.results / relative
        if not path.is_file():
            self.holes[relative] = "not there"
            return None
        try:
            return reader(path)
        # A report is the place to say that a file is broken, whatever broke it.
        except Exception as error:
            self.holes[relative] = f"cannot be read: {type(error).__name__}: {str(error)[:200]}"
            return None

    def hole(self, title: str, *paths: str) -> Block:
        """Return a visible gap for files that could not be read, with the reason of each."""
        return hole(title, "; ".join(f"{path}: {self.holes.get(path, '')}" for path in paths))


def _collected(found: Findings, name: str) -> Collected:
    """Return predictions and metrics of a task or of the external cohorts, and why there are none."""
    results, external = Results(found.results), name == "external"
    task = "survival" if external else name
    collected = collect(results, task, found.models(name), found.n_folds, external=external)
    metrics = found.read(f"metrics/{name}.json", lambda _: read_metrics(results, name)) or {}
    for (_, model, fold), one in metrics.items():
        if "failed" not in one:
            collected.metrics[(model, fold)] = one
        elif isinstance(fold, int):
            collected.failures[(model, fold)] = str(one["failed"])
            collected.predictions.pop((model, fold), None)
    return collected


def _read_genes(path: Path) -> pd.DataFrame:
    import h5py
    from anndata.io import read_elem

    with h5py.File(path) as file:
        return read_elem(file["var"])


def _read_tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t")


def _read_text_tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def read_json(path: Path) -> Any:
    """Return a JSON file's content."""
    return json.loads(path.read_text(encoding="utf-8"))


def _stains(found: Findings) -> pd.DataFrame:
    rows = []
    slides = (
        found.ledger[found.ledger["status"] == "ok"].to_dict("records") if found.ledger is not None else []
    )
    targets = set()
    for slide in slides:
        content = found.read(f"slides/{slide['slide_id']}/stain.json", read_json) or {}
        vectors = (content.get("source") or {}).get("matrix") or ()
        for name, vector in zip(_STAINS, vectors, strict=False):
            rows.append([slide["slide_id"], slide["cohort"], name, *map(float, vector)])
        wanted = (content.get("target") or {}).get("matrix") or ()
        targets |= {(name, *map(float, v)) for name, v in zip(_STAINS, wanted, strict=False)}
    rows += [["", TARGET, *target] for target in sorted(targets)]
    return pd.DataFrame(rows, columns=["slide_id", "cohort", "stain", "r", "g", "b"])


def _benchmarks(found: Findings) -> pd.DataFrame:
    """Read Snakemake's benchmark files: ``benchmarks/<rule>/<job>.tsv`` or ``benchmarks/<rule>.tsv``."""
    rows = []
    parent = found.results / "benchmarks"
    for path in sorted(parent.rglob("*.tsv")):
        relative = path.relative_to(parent)
        table = found.read(f"benchmarks/{relative.as_posix()}", _read_tsv)
        if table is None or "s" not in table:
            continue
        rule = relative.parts[0] if len(relative.parts) > 1 else relative.stem
        memory = pd.to_numeric(table["max_rss"], errors="coerce").max() if "max_rss" in table else None
        rows.append([rule, relative.with_suffix("").as_posix(), float(table["s"].sum()), memory])
    return pd.DataFrame(rows, columns=["rule", "job", "seconds", "max_rss_mb"])


def read_findings(results: Path, config: Mapping[str, Any]) -> Findings:
    """Read a results folder.

    Parameters
    ----------
    config : mapping
        The complete configuration: it tells what should be there.
    """
    found = Findings(
        results,
        config,
        tasks=list(config["tasks"]),
        clinical=list(config["evaluation"]["clinical_baselines"]),
        n_folds=int(config["split"]["folds"]),
        external=bool(config["cohorts"]["external"]) and "survival" in config["tasks"],
    )
    found.ledger = found.read("ledger.tsv", read_ledger)
    found.participation = found.read("participation.tsv", _read_text_tsv)
    found.provenance = found.read("provenance.json", read_json)
    for name in [*found.tasks, *(["external"] if found.external else [])]:
        table = found.read(f"tables/{name}.tsv", read_table)
        if table is not None:
            found.tables[name] = table
        found.collected[name] = _collected(found, name)
    for model in found.models("external") if found.external else ():
        table = found.read(f"external/survival/{model}/ensemble/{PREDICTIONS}", read_predictions)
        if table is not None:
            found.ensembles[model] = table
    for fold in range(found.n_folds):
        var = found.read(f"genes/fold-{fold}.h5ad", _read_genes)
        if var is not None:
            found.genes[fold] = var
    for task in found.tasks:
        for model in NETWORKS:
            for fold in range(found.n_folds):
                history = found.read(f"models/{task}/{model}/fold-{fold}/history.tsv", _read_tsv)
                if history is not None:
                    found.histories[(task, model, fold)] = history
    found.stains = _stains(found)
    found.benchmarks = _benchmarks(found)
    return found
