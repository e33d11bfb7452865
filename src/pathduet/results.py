"""Every path under a results folder. Nobody else puts one together.

Arguments may be Snakemake wildcards (``results.model("{task}", "{model}", "{fold}")``): rules and code then agree about a path.
It imports nothing, so that everyone may ask it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Files of a trained model's folder.
WEIGHTS, DESCRIPTION, HISTORY, COST = "weights.safetensors", "model.json", "history.tsv", "cost.json"
#: What a model says about the test part (or an external cohort), about its own training part, and its representations.
PREDICTIONS, TRAINING_PREDICTIONS, REPRESENTATIONS = (
    "predictions.tsv",
    "training_predictions.tsv",
    "representations.h5",
)
#: What each stage of the slide engine leaves in a slide's folder; the first is what the next stage reads.
STAGE_ARTIFACTS = {
    "tile": ("tiles.h5", "mask.png", "thumbnail.png"),
    "stain": ("stain.json", "stain.png"),
    "features": ("features.h5",),
}
#: How the name of the file ends that says how a stage ended.
STATUS = ".status.json"
#: A result table's forms.
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
        """Folder of a slide's artifacts: tiles.h5, mask.png, thumbnail.png, stain.json, features.h5, and a status a stage."""
        return self.root / "slides" / slide_id

    def slide_status(self, slide_id: str, stage: str) -> Path:
        """How a stage ended for a slide."""
        return self.slide(slide_id) / f"{stage}{STATUS}"

    def features(self, slide_id: str) -> Path:
        """A slide's features."""
        return self.slide(slide_id) / "features.h5"

    def feature_pointer(self, slide_id: str) -> Path:
        """What leads to a slide's features where another tool made them."""
        return self.slide(slide_id) / "features.json"

    def batch(self, stage: str, batch: str) -> Path:
        """What became of a batch of slides in a stage."""
        return self.root / "batches" / stage / f"{batch}.tsv"

    @property
    def files(self) -> Path:
        """Of slides named by a folder: every file in it, with its slide or the reason why it is none."""
        return self.root / "files.tsv"

    @property
    def ledger(self) -> Path:
        """The slide ledger: one row a slide of the sheet."""
        return self.root / "ledger.tsv"

    # --- cohort and genes

    @property
    def folds(self) -> Path:
        """Fold of each patient."""
        return self.root / "split" / "folds.tsv"

    @property
    def participation(self) -> Path:
        """Who took part in what."""
        return self.root / "participation.tsv"

    @property
    def left_out(self) -> Path:
        """Models that the run could not train, and why."""
        return self.root / "left_out.tsv"

    def genes(self, fold: int | str, selection: str = "") -> Path:
        """A fold's expression matrix, of the configured gene selection or of another one."""
        return self.root / "genes" / selection / f"fold-{fold}.h5ad"

    @property
    def subspaces(self) -> Path:
        """Which gene went into which subspace, and in which folds it was selected."""
        return self.root / "genes" / "subspaces.tsv"

    # --- models

    def models(self, task: str) -> Path:
        """Folder of a task's models."""
        return self.root / "models" / task

    def model(self, task: str, model: str, fold: int | str, seed: int | str = 0) -> Path:
        """Folder of one model of one fold: weights, description, history, predictions of its test part.

        Trainings with further seeds have a folder each in that of the first.
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

    # --- explanations, report, what leaves the run

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
        """What the run was made of."""
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

    def benchmark(self, *parts: str) -> Path:
        """What a job cost: time and memory, as Snakemake measures them."""
        return self.root / "benchmarks" / Path(*parts[:-1], f"{parts[-1]}.tsv")

    def job_record(self, log: Path) -> Path:
        """What a job's results are made of, under its log's name."""
        return (self.root / "provenance" / log.relative_to(self.root / "logs")).with_suffix(".json")


def _training(fold: int | str, seed: int | str) -> Path:
    return Path(f"fold-{fold}", *([] if seed == 0 else [f"seed-{seed}"]))
