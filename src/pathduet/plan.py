"""What a run consists of: the checked configuration and sheets, turned into batches, folds, models and settings.

The Snakefile asks this object and nothing else, so that its answers can be tested without Snakemake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet import config as configuration
from pathduet.provenance import code_version
from pathduet.sheets import SlideRow, read_sheets

if TYPE_CHECKING:
    import pandas as pd

NETWORKS = ("teacher", "student", "distilled")


@dataclass(frozen=True)
class Plan:
    """One run's plan.

    Attributes
    ----------
    config : dict
        Complete, validated configuration.
    slides : list of SlideRow
        The sheet, in its order.
    patients : DataFrame
        Indexed by patient_id.
    batches : dict
        Batch name ("000", "001", ...) to its slides.
    """

    config: dict[str, Any]
    slides: list[SlideRow]
    patients: pd.DataFrame
    batches: dict[str, list[SlideRow]]
    _by_id: dict[str, SlideRow] = field(repr=False)

    @classmethod
    def from_config(cls, value: Mapping[str, Any]) -> Plan:
        """Check configuration and sheets and make the plan.

        Raises
        ------
        InputError
            With every problem of the configuration, or, once that is right, of sheets and folds together.
        """
        from pathduet.cohort.protocol import folds_of

        config = configuration.resolve(value)
        cohorts = config["cohorts"]["internal"] + config["cohorts"]["external"]
        slides, patients = read_sheets(config["sheets"]["slides"], config["sheets"]["patients"], cohorts)
        folds_of(patients, _split_settings(config))
        size = config["slides"]["slides_per_job"]
        chunks = [slides[i : i + size] for i in range(0, len(slides), size)]
        batches = {f"{i:04d}": chunk for i, chunk in enumerate(chunks)}
        return cls(config, slides, patients, batches, {s.slide_id: s for s in slides})

    @property
    def folds(self) -> range:
        """Fold numbers, from 0."""
        return range(self.config["split"]["folds"])

    @property
    def tasks(self) -> list[str]:
        """Configured tasks."""
        return list(self.config["tasks"])

    @property
    def external_cohorts(self) -> list[str]:
        """External cohorts; empty if there are none."""
        return list(self.config["cohorts"]["external"])

    @property
    def clinical_models(self) -> list[str]:
        """Clinical baselines of the survival task."""
        return list(self.config["evaluation"]["clinical_baselines"]) if "survival" in self.tasks else []

    def models(self, task: str) -> list[str]:
        """All models of a task's table."""
        return [*NETWORKS, *(self.clinical_models if task == "survival" else [])]

    @property
    def tables(self) -> list[str]:
        """Names of the result tables."""
        external = ["external"] if self.external_cohorts and "survival" in self.tasks else []
        return [*self.tasks, *external]

    def raw_paths(self, batch: str) -> list[str]:
        """Raw slides of a batch that a job will open (excluded ones may be absent), and their masks."""
        used = [slide for slide in self.batches[batch] if not slide.exclude]
        return [str(slide.path) for slide in used] + [str(slide.mask) for slide in used if slide.mask]

    def raw_path(self, slide_id: str) -> str:
        """Raw file of one slide."""
        return str(self._slide(slide_id).path)

    def batch_table(self, batch: str) -> list[dict[str, Any]]:
        """Sheet rows of a batch, as plain values for a rule's parameters."""
        return [slide_to_params(slide) for slide in self.batches[batch]]

    def raw_stamps(self, batch: str) -> list[str]:
        """Size and date of each raw slide of a batch: other ones mean that the batch is looked at again.

        Compared for being the same, never for being newer: a scanner or file server whose clock is ahead
        would else have its slides made again in every run.
        """
        return [_stamp(path) for path in self.raw_paths(batch)]

    def raw_stamp(self, slide_id: str) -> str:
        """The same of one slide."""
        return _stamp(self.raw_path(slide_id))

    def slide_table(self, slide_id: str) -> list[dict[str, Any]]:
        """Sheet row of one slide."""
        return [slide_to_params(self._slide(slide_id))]

    def _slide(self, slide_id: str) -> SlideRow:
        if slide_id not in self._by_id:
            raise ValueError(f"slide {slide_id!r} is not in {self.config['sheets']['slides']}")
        return self._by_id[slide_id]

    def slide_settings(self, stage: str) -> dict[str, Any]:
        """Settings that a stage and those before it depend on; later sections are left out."""
        sections = {
            "tile": ["slides"],
            "stain": ["slides", "stain"],
            "features": ["slides", "stain", "encoder"],
        }
        settings = {name: dict(self.config[name]) for name in sections[stage]}
        # how slides are dealt to jobs, and what a lost one means, changes no slide's artifacts
        for key in ("slides_per_job", "lost_slides_exit_status"):
            settings["slides"].pop(key)
        if "encoder" in settings:
            settings["encoder"]["seed"] = self.config["seed"]
        return settings

    def repair_settings(self) -> dict[str, Any]:
        """What a job that finds a slide's features damaged needs to make them again."""
        return {"sheet": self.config["sheets"]["slides"], "settings": self.slide_settings("features")}

    def split_settings(self) -> dict[str, Any]:
        """Settings of the folds."""
        return _split_settings(self.config)

    def expression_paths(self) -> list[str]:
        """Expression tables."""
        return [table["path"] for table in self.config["expression"]["tables"]]

    def sample_paths(self) -> list[str]:
        """Sample sheets of the expression tables that have one."""
        return [t["samples"] for t in self.config["expression"]["tables"] if t["samples"]]

    def geneset_paths(self) -> list[str]:
        """The user's own gene lists (the shipped ones count as code)."""
        return [
            p for p in (self.config["genesets"]["tumor"], self.config["genesets"]["tme"]) if p != "shipped"
        ]

    def gene_settings(self) -> dict[str, Any]:
        """Settings of gene selection and scaling."""
        return {
            "expression": self.config["expression"],
            "genesets": self.config["genesets"],
            "cohorts": self.config["cohorts"],
            "protocol": self.config["protocol"],
            "seed": self.config["seed"],
        }

    def training_settings(self, task: str, model: str) -> dict[str, Any]:
        """Settings of one training: those of its task where the configuration tells tasks apart."""
        training = {
            key: value[task] if isinstance(value, Mapping) else value
            for key, value in self.config["training"][model].items()
        }
        return {
            "protocol": self.config["protocol"],
            "seed": self.config["seed"],
            "labels": self.config["labels"],
            "model": self.config["model"],
            "training": training,
            "tensorboard": self.config["training"]["tensorboard"],
        }

    def evaluation_settings(self) -> dict[str, Any]:
        """Settings of metrics and intervals."""
        return {
            "protocol": self.config["protocol"],
            "seed": self.config["seed"],
            "bootstrap": self.config["evaluation"]["bootstrap"],
            "variant": self.config["model"]["variant"],
            "labels": self.config["labels"],
        }

    def code(self, *parts: str) -> str:
        """Hash of the source a rule calls, see :func:`pathduet.provenance.code_version`."""
        return code_version(*parts)


def _stamp(path: str) -> str:
    try:
        found = Path(path).stat()
    except OSError:
        return "absent"
    return f"{found.st_size} {int(found.st_mtime)}"


def slide_to_params(slide: SlideRow) -> dict[str, Any]:
    """Return a slide's row as plain values."""
    return slide.to_plain()


def slides_from_params(rows: Sequence[Mapping[str, Any]]) -> list[SlideRow]:
    """Undo :func:`slide_to_params`."""
    return [SlideRow.from_plain(row) for row in rows]


def _split_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **config["split"],
        "seed": config["seed"],
        "protocol": config["protocol"],
        "internal": config["cohorts"]["internal"],
        "tasks": config["tasks"],
        "cdkn2a_rule": config["labels"]["cdkn2a_rule"],
    }
