"""Every path under a results folder. No other module builds these paths.

Arguments may be Snakemake wildcards (``results.model("{task}", "{model}", "{fold}")``): rules and code then use the same paths.
This module imports nothing, so that every other can use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Files of a trained model's folder.
WEIGHTS, DESCRIPTION, HISTORY, COST = "weights.safetensors", "model.json", "history.tsv", "cost.json"
#: A model's predictions for the test part (or an external cohort) and for its training part, and its representations.
PREDICTIONS, TRAINING_PREDICTIONS, REPRESENTATIONS = (
    "predictions.tsv",
    "training_predictions.tsv",
    "representations.h5",
)
#: Files that each stage of the slide engine writes to a slide's folder; the next stage reads the first.
STAGE_ARTIFACTS = {
    "tile": ("tiles.h5", "mask.png", "thumbnail.png"),
    "stain": ("stain.json", "stain.png"),
    "features": ("features.h5",),
}
#: Suffix of the file that records how a stage ended.
STATUS = ".status.json"
#: A result table's formats.
TABLE_SUFFIXES = (".tsv", ".md", ".html", ".svg")


@dataclass(frozen=True)
class Results:
    """The layout of a results folder.

    Attributes
    ----------
    root : Path
        The folder.
    """

    root: Path

    # --- slides

    def slide(self, slide_id: str) -> Path:
        """Folder of a slide's artifacts: tiles.h5, mask.png, thumbnail.png, stain.json, features.h5, one status per stage."""
        return self.root / "slides" / slide_id

    def slide_status(self, slide_id: str, stage: str) -> Path:
        """How a stage ended for a slide."""
        return self.slide(slide_id) / f"{stage}{STATUS}"

    def features(self, slide_id: str) -> Path:
        """A slide's features."""
        return self.slide(slide_id) / "features.h5"

    def feature_pointer(self, slide_id: str) -> Path:
        """Pointer to a slide's features from another tool."""
        return self.slide(slide_id) / "features.json"

    def batch(self, stage: str, batch: str) -> Path:
        """Outcome of a batch of slides in a stage."""
        return self.root / "batches" / stage / f"{batch}.tsv"

    @property
    def files(self) -> Path:
        """For a folder of slides: every file in it, with its slide or the reason why it is not one."""
        return self.root / "files.tsv"

    @property
    def ledger(self) -> Path:
        """The slide ledger: one row per slide of the sheet."""
        return self.root / "ledger.tsv"

    # --- cohort and genes

    @property
    def folds(self) -> Path:
        """Fold of each patient."""
        return self.root / "split" / "folds.tsv"

    @property
    def participation(self) -> Path:
        """Each patient's data and labels."""
        return self.root / "participation.tsv"

    @property
    def left_out(self) -> Path:
        """Models that the run could not train, and why."""
        return self.root / "left_out.tsv"

    def genes(self, fold: int | str, selection: str = "") -> Path:
        """A fold's expression matrix, for the configured gene selection or another one."""
        return self.root / "genes" / selection / f"fold-{fold}.h5ad"

    @property
    def subspaces(self) -> Path:
        """The subspace of each gene, and the folds in which it was selected."""
        return self.root / "genes" / "subspaces.tsv"

    # --- models

    def models(self, task: str) -> Path:
        """Folder of a task's models."""
        return self.root / "models" / task

    def model(self, task: str, model: str, fold: int | str, seed: int | str = 0) -> Path:
        """Folder of one model of one fold: weights, description, history, predictions of its test part.

        Each further seed has a subfolder in that of the first.
        """
        return self.models(task) / model / _training(fold, seed)

    def external(self, task: str, model: str, fold: int | str, seed: int | str = 0) -> Path:
        """Folder of one model's predictions of the external cohorts."""
        return self.root / "external" / task / model / _training(fold, seed)

    def ensemble(self, task: str, model: str) -> Path:
        """Folder of the folds' ensemble on the external cohorts."""
        return self.root / "external" / task / model / "ensemble"

    # --- evaluation

    def metrics(self, table: str) -> Path:
        """Metrics of every model and fold of a table."""
        return self.root / "metrics" / f"{table}.json"

    def table(self, table: str, suffix: str = ".tsv") -> Path:
        """A result table in one of :data:`TABLE_SUFFIXES`."""
        return self.root / "tables" / f"{table}{suffix}"

    # --- explanations, report, exports

    def explanations(self, task: str) -> Path:
        """Folder of a task's explanations."""
        return self.root / "explanations" / task

    def heatmap(self, task: str, model: str, fold: int | str, slide_id: str) -> Path:
        """Folder of one slide's heatmaps by one model of one fold."""
        return self.explanations(task) / model / f"fold-{fold}" / slide_id

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report" / "report.html"

    @property
    def provenance(self) -> Path:
        """The origin of the run."""
        return self.root / "provenance.json"

    @property
    def crate(self) -> Path:
        """The run as one archive, an RO-Crate."""
        return self.root / "run.crate.zip"

    def released(self, model: str) -> Path:
        """Folder of a released model."""
        return self.root / "released" / model

    @property
    def new_slides(self) -> Path:
        """Folder of predictions of new slides."""
        return self.root / "new_slides"

    # --- about the jobs

    def log(self, *parts: str) -> Path:
        """A job's log: ``results.log("train", "survival", "teacher", "fold-0")``."""
        return self.root / "logs" / Path(*parts[:-1], f"{parts[-1]}.log")

    def job_record(self, log: Path) -> Path:
        """The origin of a job's results, under its log's name."""
        return (self.root / "provenance" / log.relative_to(self.root / "logs")).with_suffix(".json")

    def job_cost(self, log: Path) -> Path:
        """A job's time and memory, under its log's name."""
        return (self.root / "benchmarks" / log.relative_to(self.root / "logs")).with_suffix(".tsv")


def _training(fold: int | str, seed: int | str) -> Path:
    return Path(f"fold-{fold}", *([] if seed == 0 else [f"seed-{seed}"]))
