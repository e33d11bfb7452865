"""What a run consists of: the checked configuration and sheets, turned into batches, folds, models and settings.

The Snakefile uses only this object, so its answers can be tested without Snakemake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.catalogue import Model, catalogue_of, names, opponent_of
from pathduet.cohort.labels import cells_by_patient, label_columns, task_labels
from pathduet.cohort.sheets import FEATURES, SlideRow, read_sheets, read_slides
from pathduet.cohort.site_folds import divided_sites, sites_of
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core import config as configuration
from pathduet.core.errors import InputError
from pathduet.core.file_content import CONTENTS, FileContents
from pathduet.core.files import sha256_file, stamp
from pathduet.core.provenance import settings_hash
from pathduet.core.shipped import GENE_SETS
from pathduet.core.source_code import code_version
from pathduet.explain.files import files_of
from pathduet.explain.targets import heatmap_problems, heatmap_targets
from pathduet.features.layouts.pathduet import MAGNIFICATIONS
from pathduet.result_tables import ResultTable, external_table, result_tables, whole_run_tables
from pathduet.results import COST, DESCRIPTION, PREDICTIONS, TRAINING_PREDICTIONS, Results
from pathduet.slides.cache_keys import settings_of
from pathduet.slides.settings import SlideSettings
from pathduet.slides.source import SOURCE, known_by, planned_as, slide_files
from pathduet.slides.status import STAGES
from pathduet.variations import (
    VARIATION_TABLES,
    PlannedModel,
    gene_selections,
    planned_models,
    table_rows,
)
from pathduet.workflow import config_checks, demo
from pathduet.workflow.batches import deal, lost_to_limits
from pathduet.workflow.earlier_results import started_with
from pathduet.workflow.encoder_config import with_encoder
from pathduet.workflow.feature_config import with_features
from pathduet.workflow.reasons import Job, decisive

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a slide's row that do not affect its tiles and features; its files are compared by content.
_OF_NO_PIXEL = ("patient_id", "cohort", "path", "scanner", "site", *FEATURES)
#: Files that a regression writes to its folder.
REGRESSION_FILES = (DESCRIPTION, PREDICTIONS, TRAINING_PREDICTIONS)


@dataclass(frozen=True)
class Plan:
    """One run's plan.

    Attributes
    ----------
    config : dict
        Complete, validated configuration, completed from the sheets: classes, cohorts.
    slides : list of SlideRow
        The sheet, in its order.
    patients : DataFrame
        Indexed by patient_id.
    fold_table : DataFrame
        From :func:`pathduet.cohort.make_folds.folds_of`.
    batches : dict
        Batch name ("0000", "0001", ...) to its slides: first slides encoded here, then those with foreign features.
    drawn_from : str
        For the demo: a hash of what its slides are drawn from; they need not exist yet. Otherwise empty.
    """

    config: dict[str, Any]
    slides: list[SlideRow]
    patients: pd.DataFrame
    batches: dict[str, list[SlideRow]]
    _by_id: dict[str, SlideRow] = field(repr=False)
    planned: dict[str, PlannedModel] = field(repr=False)
    fold_table: pd.DataFrame = field(repr=False)
    drawn_from: str = ""

    @classmethod
    def from_config(cls, value: Mapping[str, Any], *, as_started: bool = False) -> Plan:
        """Check configuration and sheets and make the plan.

        Parameters
        ----------
        value : mapping
            The configuration as read.
        as_started : bool
            For a job on another machine: slides keep the batches recorded by the run that started it.

        Raises
        ------
        InputError
            With every problem of the configuration, or, if it is valid, of sheets and folds together.
        """
        from pathduet.cohort.make_folds import folds_of
        from pathduet.workflow.labelled_config import with_labels

        config = configuration.resolve(value)
        config_checks.check(config)
        config = with_encoder(config)
        drawn_from = demo.drawn_from() if configuration.is_demo(value) else ""
        cohorts = config["cohorts"]["internal"] + config["cohorts"]["external"]
        sheets = config["sheets"]["slides"], config["sheets"]["patients"]
        known = cohorts if config["cohorts"]["internal"] else None
        slides, patients = read_sheets(
            *sheets,
            known,
            files_to_come=bool(drawn_from),
            features_elsewhere=bool(config["features"]["folder"]),
        )
        config, slides = with_features(config, value, slides)
        config = with_labels(config, patients)
        folds = folds_of(patients, _split_settings(config, patients, slides))
        results = Results(Path(config["results"]))
        kept = started_with(results.root, "batches")
        if not as_started:  # slides not yet begun are assigned to new batches
            kept = {name: kept[name] for name in kept if any(m.is_file() for m in _manifests(results, name))}
        batches = deal(slides, config["slides"]["slides_per_job"], kept)
        by_id = {slide.slide_id: slide for slide in slides}
        planned = planned_models(config)
        problems = config_checks.named_model_problems(config, planned)
        if problems := [*problems, *heatmap_problems(config, slides, planned)]:
            raise InputError(problems)
        return cls(config, slides, patients, batches, by_id, planned, folds, drawn_from)

    @property
    def record(self) -> dict[str, Any]:
        """What a run records when it starts, for its jobs, the next run and `pathduet status`."""
        return {
            "slides": [slide.slide_id for slide in self.slides],
            "batches": {name: [slide.slide_id for slide in of] for name, of in self.batches.items()},
            "limits": self.limits,
            "checked": {"expression": self.expression_key},
            "inputs": {
                path: self.contents.of(path) for path in [*self.own_files(), *self.annotation_paths()]
            },
        }

    @cached_property
    def expression_key(self) -> str:
        """Hash of what the check of the expression tables depends on; empty without them."""
        if not self.has_expression:
            return ""
        sheets = [self.contents.of(file) for file in self.files("sheets.slides", "sheets.patients")]
        tasks = [task.to_plain() for task in self.tasks.values()]
        code = code_version("pathduet.workflow.preflight")
        return settings_hash([self.genes_job().decided_by, self.split_job().decided_by, sheets, tasks, code])

    @property
    def folds(self) -> range:
        """Fold numbers, from 0."""
        return range(self.config["split"]["folds"])

    @cached_property
    def divided_sites(self) -> list[str]:
        """Sites on both sides of folds made here that could have kept them together."""
        if self.config["split"]["file"] or self.config["protocol"] == "paper":
            return []
        return divided_sites(self.fold_table, self.slides)

    @property
    def seeds(self) -> range:
        """Indices of a network's training runs on a fold, from 0."""
        return range(self.config["training"]["seeds"])

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Configured tasks by name, in their order."""
        return tasks_of(self.config)

    @property
    def has_slides(self) -> bool:
        """Whether there are raw slides."""
        return bool(self.slides)

    @property
    def has_expression(self) -> bool:
        """Whether there are expression tables."""
        return bool(self.config["expression"]["tables"])

    @property
    def expression_cohorts(self) -> list[str]:
        """Cohorts that have an expression table; of other patients only the slides are used."""
        return [table["cohort"] for table in self.config["expression"]["tables"]]

    @property
    def patients_sheet(self) -> str:
        """The sheet of the patients: the slides' sheet if there is no other."""
        sheets = self.config["sheets"]
        return str(sheets["patients"] or sheets["slides"])

    @property
    def external_cohorts(self) -> list[str]:
        """External cohorts; empty if there are none."""
        return list(self.config["cohorts"]["external"])

    @cached_property
    def results(self) -> Results:
        """Every path under the results folder."""
        return Results(Path(self.config["results"]))

    @cached_property
    def catalogue(self) -> dict[str, Model]:
        """Every model, including the user's own and the clinical ones."""
        return catalogue_of(self.config)

    def _lacks(self, model: Model) -> str:
        """Why a model cannot be trained in this run; empty if it can."""
        if model.kind == "released" and len(self.config["subspaces"]) != 2:
            return "made for two subspaces"
        there = {"slides": self.has_slides, "expression": self.has_expression}
        return " and ".join(f"no {what}" for what in model.learns_from if not there.get(what, True))

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Models of the tasks' tables that this run cannot train, and why."""
        wanted = [*(row.base for row in table_rows("main", self.config)), *self._components()]
        reasons = {name: self._lacks(self.catalogue[name]) for name in wanted}
        return {name: reason for name, reason in reasons.items() if reason}

    def _components(self) -> list[str]:
        """Regressions on principal components: of all data that the run reads, and those configured."""
        there = {"slides": self.has_slides, "expression": self.has_expression}
        read = tuple(what for what, is_there in there.items() if is_there)
        configured = self.config["comparison"]["models"]
        return [
            name
            for name in names("components")
            if name in configured or self.catalogue[name].learns_from == read
        ]

    def regressions(self, task: str) -> list[str]:
        """A task's models that a library fits, on principal components or clinical covariates."""
        clinical = [name for name, model in self.catalogue.items() if model.kind == "clinical"]
        return [
            name
            for name in (*self._components(), *clinical)
            if name not in self.left_out and self.catalogue[name].fits(self.tasks[task])
        ]

    @property
    def networks(self) -> list[str]:
        """Networks of every task's table: this package's, then the configured baselines and own models."""
        return [
            row.name for row in table_rows("main", self.config) if not self._lacks(self.catalogue[row.base])
        ]

    def models(self, task: str) -> list[str]:
        """All models of a task's table."""
        return [*self.networks, *self.regressions(task)]

    @cached_property
    def tables(self) -> dict[str, ResultTable]:
        """Result tables of a whole run, by name."""
        return whole_run_tables(self.config)

    @cached_property
    def every_table(self) -> dict[str, ResultTable]:
        """Result tables that can be requested, by name."""
        return result_tables(self.config)

    def rows(self, table: str) -> list[dict[str, str]]:
        """Rows of a table: task and model; of a table of variations also group, title and base."""
        task = self.every_table[table].task
        if task:
            return [{"task": task, "model": name} for name in self.models(task)]
        rows = [row for row in table_rows(table, self.config) if not self._lacks(self.catalogue[row.base])]
        return [
            {"task": task, "model": row.name, "group": row.group, "title": row.title, "base": row.base}
            for task in self.tasks
            for row in rows
            if task in row.shown_for(self.tasks)
        ]

    def in_table(self, table: str) -> list[tuple[str, str]]:
        """(task, model) of every row of a table, each once, and of what variations are tested against."""
        rows = [(row["task"], row["model"]) for row in self.rows(table)]
        tested = [(task, self._opponent(model)) for task, model in rows if table in VARIATION_TABLES]
        return list(dict.fromkeys([*rows, *(pair for pair in tested if pair[1])]))

    def _opponent(self, model: str) -> str:
        base = self._base(model)
        return opponent_of(model, base.name, base.reads, self.left_out)

    @property
    def evaluated(self) -> list[tuple[str, str]]:
        """(task, model) of everything in a whole run's tables, each once."""
        return list(dict.fromkeys(pair for table in self.tables for pair in self.in_table(table)))

    @property
    def trained(self) -> list[tuple[str, str]]:
        """(task, model) of every network of a whole run, each once, after those it learns from."""
        return list(
            dict.fromkeys(
                (task, name)
                for task, model in self.evaluated
                if model in self.planned
                for name in [*self.planned[model].trained_after, model]
            )
        )

    def learns_from(self, model: str) -> list[str]:
        """Models that must be trained before this one: a distilled model's teacher and student."""
        return list(self.planned[model].trained_after)

    # --- files

    @property
    def genes(self) -> list[Path]:
        """Expression matrices of all folds; empty without expression."""
        return [self.results.genes(fold) for fold in self.folds] if self.has_expression else []

    def of_folds(
        self,
        models: Iterable[tuple[str, str]],
        *files: str,
        external: bool = False,
        seeds: Iterable[int] = (0,),
    ) -> list[Path]:
        """Files of (task, model) in every fold, or on the external cohorts; regressions have only some of them, and one seed."""
        folder = self.results.external if external else self.results.model
        return [
            folder(task, model, fold, seed) / file
            for task, model in models
            for fold in self.folds
            for seed in (seeds if model in self.planned else (0,))
            for file in files
            if model in self.planned or file in REGRESSION_FILES
        ]

    @property
    def ensembles(self) -> list[Path]:
        """Predictions of the folds' ensembles on the external cohorts; empty without such cohorts."""
        external = [table for table in self.tables.values() if table.external]
        return [file for table in external for file in self.ensembles_of(table.task)]

    def ensembles_of(self, task: str) -> list[Path]:
        """Ensemble predictions of one task."""
        return [self.results.ensemble(task, model) / PREDICTIONS for model in self.models(task)]

    def evaluated_files(self, table: str) -> list[Path]:
        """Files that a table is computed from."""
        models = self.in_table(table)
        external = self.every_table[table].external
        predictions = self.of_folds(models, PREDICTIONS, external=external, seeds=self.seeds)
        return [*predictions, *self.of_folds(models, DESCRIPTION, COST, TRAINING_PREDICTIONS)]

    @property
    def selections(self) -> list[str]:
        """Gene selections besides the configured one."""
        return list(gene_selections(self.config))

    def genes_of(self, model: str, fold: int | str) -> Path | list[Path]:
        """A fold's expression matrix for a model's gene selection; empty without expression."""
        if not self.has_expression:
            return []
        selection = self.planned[model].genes
        return self.results.genes(fold, "" if selection == "default" else selection)

    @property
    def heatmaps(self) -> list[tuple[str, str, int, str]]:
        """(task, model, fold, slide) of a run's heatmaps, see :mod:`pathduet.explain.targets`."""
        fold_of = dict(zip(self.fold_table["patient_id"], self.fold_table["fold"], strict=True))
        return heatmap_targets(self.config, self.slides, fold_of, self.networks)

    def batch_of(self, slide_id: str) -> str:
        """Batch of a slide."""
        slide = self._slide(slide_id)
        return next(batch for batch, slides in self.batches.items() if slide in slides)

    @cached_property
    def foreign_batches(self) -> list[str]:
        """Batches of slides with features from another tool."""
        return [batch for batch, slides in self.batches.items() if slides[0].foreign]

    @property
    def encoded_batches(self) -> list[str]:
        """Batches of slides that are tiled and encoded here."""
        return [batch for batch in self.batches if batch not in self.foreign_batches]

    def last_manifest(self, batch: str) -> Path:
        """A batch's last manifest: of encoded slides, or of checked foreign features."""
        return self.results.batch("foreign_features" if batch in self.foreign_batches else "features", batch)

    def drawn_files(self) -> list[str]:
        """The file that marks the demo's slides as drawn; empty for other cohorts."""
        return [str(demo.drawn_table())] if self.drawn_from else []

    def _slide(self, slide_id: str) -> SlideRow:
        if slide_id not in self._by_id:
            raise ValueError(f"slide {slide_id!r} is not in {self.config['sheets']['slides']}")
        return self._by_id[slide_id]

    # --- what each rule's jobs receive, and which parts of it decide their results

    @cached_property
    def contents(self) -> FileContents:
        """Hashes of the user's files."""
        return FileContents(self.results.root / CONTENTS)

    @cached_property
    def _named_files(self) -> frozenset[str]:
        own = self.files("predict.slides", "predict.expression", "predict.samples")
        return frozenset([*self.own_files(), *own, *_named(self.config["explanations"]["regions"]["legend"])])

    def _decisive(self, facts: Any) -> Any:
        return decisive(facts, self.contents.of, self._named_files)

    def _job(self, settings: Any, files: Mapping[str, Any] | None = None, **facts: Any) -> Job:
        """Return a job that is decided by its settings and by `facts`, what it uses from the files."""
        return Job(settings, files or {}, self._decisive({"settings": settings, **facts}))

    @cached_property
    def _slide_settings(self) -> SlideSettings:
        return SlideSettings.from_mapping(self.config)

    @cached_property
    def _rows(self) -> Callable[[str], list[dict[str, Any]]]:
        """A batch's slides as plain values, the same for all of its stages."""
        return cache(lambda batch: [slide.to_plain() for slide in self.batches[batch]])

    def stages_job(self, stages: Sequence[str], batch: str) -> Job:
        """Tiles and stains, or features, of a batch. Features identify its slides by the output of the stages before."""
        slides = self.batches[batch]
        given = {"stages": list(stages), "slides": self._rows(batch), "sections": self._slide_sections}
        facts: list[Any] = [settings_of(stage, self._slide_settings) for stage in stages]
        facts += [self.limits.get(f"{stage} {batch}") for stage in stages]
        facts += [self._slide_facts(slide) for slide in slides] if stages[0] == STAGES[0] else []
        return Job(given, decided_by=self._decisive(facts))

    def slide_job(self, slide_id: str) -> Job:
        """All stages of one slide."""
        slide = self._slide(slide_id)
        facts = [self._slide_facts(slide), *(settings_of(stage, self._slide_settings) for stage in STAGES)]
        given = {"slide": slide.to_plain(), "sections": self._slide_sections}
        return Job(given, decided_by=self._decisive(facts))

    @cached_property
    def limits(self) -> dict[str, list[float]]:
        """Time and memory limits for retries of stages that lost slides to a limit: a new limit is worth a retry."""
        limits = self._slide_settings.limits
        now = [limits.time_limit_s, limits.memory_limit_mib]
        before = started_with(self.results.root, "limits")
        if before.get("all", now) != now:
            lost = ((stage, of) for of in self.batches for stage in lost_to_limits(self.last_manifest(of)))
            before |= {f"{stage} {batch}": now for stage, batch in lost}
        return {**before, "all": now}

    @property
    def _slide_sections(self) -> dict[str, Any]:
        return self._sections("slides", "stain", "encoder", "seed")

    def _slide_facts(self, slide: SlideRow) -> dict[str, Any]:
        """What a slide's artifacts depend on; its location, date and patient do not count."""
        if slide.exclude:
            return {"slide_id": slide.slide_id, "exclude": slide.exclude}
        facts = {key: value for key, value in vars(slide).items() if key not in _OF_NO_PIXEL}
        if slide.foreign:
            return {**facts, "files": [sorted(slide.foreign), known_by(slide, self.results.root, planned_as)]}
        return {**facts, "files": self._raw_content(slide)}

    def _raw_content(self, slide: SlideRow) -> str:
        if not slide.has_raw:
            return "none"
        if self.drawn_from and demo.as_drawn(slide.slide_id, slide.path):
            return self.drawn_from
        if slide.foreign:
            return stamp(slide.path)
        files = slide_files(slide.path)
        begun = slide.slide_id in self._begun
        return planned_as(files, self.results.slide(slide.slide_id) / SOURCE if begun else None)

    @cached_property
    def _begun(self) -> frozenset[str]:
        """Slides with a folder in the results: no other has been read before."""
        folder = self.results.root / "slides"
        return frozenset(one.name for one in folder.iterdir()) if folder.is_dir() else frozenset()

    def foreign_job(self, batch: str) -> Job:
        """Check of features from another tool."""
        rows = [slide.to_plain() for slide in self.batches[batch]]
        given = {"slides": rows, "reading": self.foreign_settings()}
        facts = [self._slide_facts(slide) for slide in self.batches[batch]]
        return Job(given, decided_by=self._decisive([self.foreign_settings(), facts]))

    def follow_features(self) -> None:
        """Point the results to the present location of foreign features: moving them reruns no job."""
        for slide in self.slides:
            if slide.foreign:
                from pathduet.slides.foreign_features import point_anew

                point_anew(slide, self.results.root)

    def foreign_settings(self) -> dict[str, Any]:
        """Settings for reading features from another tool."""
        slides = {key: self.config["slides"][key] for key in ("min_tiles", "default_mpp")}
        return {"layout": self.config["features"]["layout"], **slides}

    def ledger_job(self) -> Job:
        """The slide ledger: the patient of each slide. Reordering the sheet's rows does not rerun it."""
        slides = [[slide.slide_id, slide.patient_id, slide.cohort] for slide in self.slides]
        return Job(slides, decided_by=sorted(slides))

    def split_job(self) -> Job:
        """The folds, which a plan already has: they are rewritten only if they change."""
        files = {"patients": self.patients_sheet, "own": self.files("split.file")}
        folds = {column: cells.astype(str).tolist() for column, cells in self.fold_table.items()}
        return Job(self.split_settings(), files, settings_hash(folds))

    def split_settings(self) -> dict[str, Any]:
        """Settings of the folds."""
        return _split_settings(self.config, self.patients, self.slides)

    def genes_job(self, selection: str | None = None) -> Job:
        """A fold's expression matrix: tables, gene lists, and the patients' cohorts from their sheet."""
        settings = self.gene_settings(selection)
        tables = settings["expression"]["tables"]
        files = {
            "patients": self.patients_sheet,
            "tables": [entry["path"] for entry in tables],
            "samples": _named(*(entry["samples"] for entry in tables)),
            "lists": self.subspace_files(),
        }
        cohorts = settings_hash(dict(zip(self.patients.index, self.patients["cohort"].tolist())))
        order = list(self.config["subspaces"])
        return self._job(settings, files, order=order, shipped=GENE_SETS, cohorts=cohorts)

    def gene_settings(self, selection: str | None = None) -> dict[str, Any]:
        """Settings of gene selection and scaling: as configured, or with another gene selection."""
        changes = gene_selections(self.config)[selection] if selection else {}
        tables = [{"samples": None, **entry} for entry in self.config["expression"]["tables"]]
        tables.sort(key=lambda entry: str(entry["cohort"]))
        return {
            "expression": {**self.config["expression"], **changes, "tables": tables},
            **self._sections("subspaces", "protocol", "seed"),
        }

    def train_job(self, task: str, *models: str) -> Job:
        """Training runs of one job, in order: of the named models, or of a task's table. External patients' facts are not read."""
        settings = {model: self.training_settings(task, model) for model in models or self.networks}
        files = {
            "patients": self.patients_sheet,
            "networks": [file for model in settings for file in self.network_files(model)],
        }
        facts = {model: _learned(one, self._base(model)) for model, one in settings.items()}
        labels = self._labels(task, tuple(self.config["cohorts"]["internal"]))
        return Job(settings, files, self._decisive([facts, labels]))

    @cached_property
    def _labels(self) -> Callable[[str, tuple[str, ...]], str]:
        """A hash of the sheet's labels of a task for the patients of some cohorts; the same for all of the task's models."""
        return cache(lambda task, cohorts: self._cells(label_columns(self.tasks[task]), cohorts))

    def _cells(self, columns: Iterable[str], cohorts: Sequence[str]) -> str:
        rows = self.patients[self.patients["cohort"].isin(cohorts)]
        there, cells = cells_by_patient(rows, sorted({"cohort", *columns}))
        return settings_hash([there, dict(zip(rows.index, cells, strict=True))])

    @property
    def _every_cohort(self) -> list[str]:
        return [*self.config["cohorts"]["internal"], *self.external_cohorts]

    def regressions_job(self) -> Job:
        """The models that a library fits: labels and covariates."""
        read = self.config["slides"]["magnifications"]
        settings = {
            **self._sections("seed", "protocol", "covariates"),
            "tasks": {name: task.to_plain() for name, task in self.tasks.items()},
            "catalogue": self.catalogue_settings(),
            "models": {task: self.regressions(task) for task in self.tasks},
            "magnifications": list(MAGNIFICATIONS) if read == "both" else [read],
            "n_folds": len(self.folds),
            "external_cohorts": self.external_cohorts,
        }
        columns = [*self.config["covariates"], *(c for t in self.tasks.values() for c in label_columns(t))]
        files = {"patients": self.patients_sheet}
        return self._job(settings, files, cells=self._cells(columns, self._every_cohort))

    def participation_job(self) -> Job:
        """Which patients took part in what, and their labels."""
        settings = {"tasks": [task.to_plain() for task in self.tasks.values()], "left_out": self.left_out}
        columns = [column for task in self.tasks.values() for column in label_columns(task)]
        files = {"patients": self.patients_sheet}
        return self._job(settings, files, cells=self._cells(columns, self._every_cohort))

    def evaluation_job(self, table: str) -> Job:
        """A result table."""
        settings = {
            "table": vars(self.every_table[table]),
            "rows": self.rows(table),
            "n_folds": len(self.folds),
            "truth": self._truth(self.every_table[table]),
            **self.evaluation_settings(table),
        }
        return self._job(settings)

    def _truth(self, table: ResultTable) -> dict[str, Any] | None:
        """Return the external patients' labels for a table about them, by column: models predict without."""
        if not table.external:
            return None
        labels = task_labels(self.patients, self.tasks[table.task]).drop(columns="reason")
        own = labels[self.patients["cohort"].isin(self.external_cohorts)].astype(object)
        return {str(column): own[column].where(own[column].notna(), None).to_dict() for column in own}

    def explanation_job(self, task: str) -> Job:
        """A task's explanations; they depend on its labels, region annotations and gene sets."""
        files = {
            "patients": self.patients_sheet,
            "slides": _named(self.config["sheets"]["slides"]),
            "annotations": self.annotation_paths(),
            "gene_sets": self.files("explanations.gene_sets"),
        }
        settings, drawn = self.explanation_settings(task), self._annotations()
        return self._job(settings, files, labels=self._labels(task, tuple(self._every_cohort)), drawn=drawn)

    def heatmap_job(self, slide_id: str) -> Job:
        """Heatmaps of a slide, drawn over its pixels."""
        slide, chosen = self._slide(slide_id), self.config["explanations"]["heatmaps"]
        drawn = {name: chosen[name] for name in ("viewer_mpp", "frame")}
        facts = [slide_id, slide.patient_id, slide.scene, self._raw_content(slide), drawn]
        return Job({"slide": slide.to_plain(), **drawn}, decided_by=self._decisive(facts))

    def provenance_job(self) -> Job:
        """What the run was made of: the configuration and every user file."""
        return self._job(self.config, {"own": self.own_files()})

    def report_job(self, configfiles: Sequence[str]) -> Job:
        """The report, which shows the patients' sheet."""
        files = {"patients": self.patients_sheet}
        settings = {"config": self.config, "configfiles": list(configfiles)}
        return self._job(settings, files, patients=Path(self.patients_sheet))

    def export_job(self) -> Job:
        """A release, which contains the stain target."""
        files = self.files("stain.target")
        return self._job(None, {"target": files}, target=files)

    def prediction_job(self) -> Job:
        """Predictions of new slides."""
        settings = {
            "predict": self.config["predict"],
            # how fast slides are encoded here: all other settings come from the release
            "encoder": {k: self.config["encoder"][k] for k in ("weights", "device", "engine", "batch_size")},
            "frame": self.config["explanations"]["heatmaps"]["frame"],
        }
        files = self.files("predict.slides", "predict.expression", "predict.samples")
        new = read_slides(self.config["predict"]["slides"]) if self.config["predict"]["slides"] else []
        stamps = [stamp(path) for slide in new for path in (slide.path, *slide.foreign.values())]
        return self._job(settings, {"own": files}, slides=stamps)

    def files(self, *keys: str) -> list[str]:
        """User files at keys of the configuration (``stain.target``); empty if the value is empty or ``shipped``."""
        values = []
        for key in keys:
            section, _, name = key.partition(".")
            values.append(self.config[section][name])
        return _named(*values)

    def network_files(self, model: str) -> list[str]:
        """User files that a network is built from: its source, its gene groups."""
        own = self.config["comparison"]["own_models"].get(self.planned[model].base)
        groups = self._network_settings(model).get("gene_groups")
        return [own["file"]] if own else [file for file in _named(groups) if Path(file).is_file()]

    def own_files(self) -> list[str]:
        """User files that jobs read, except slides and region annotations (one per slide)."""
        named = self.files(
            "sheets.slides", "sheets.patients", "split.file", "stain.target", "encoder.weights",
            "explanations.gene_sets",
        )  # fmt: skip
        for entry in self.config["expression"]["tables"]:
            named += _named(entry["path"], entry.get("samples"))
        networks = [file for model in self.planned for file in self.network_files(model)]
        return list(dict.fromkeys([*named, *self.subspace_files(), *networks]))

    def subspace_files(self) -> list[str]:
        """The user's gene lists and GMT files."""
        chosen = self.config["subspaces"].values()
        return list(
            dict.fromkeys(_named(*(entry if isinstance(entry, str) else entry["gmt"] for entry in chosen)))
        )

    def training_settings(self, task: str, model: str) -> dict[str, Any]:
        """Settings of one training run, without anything that only other models depend on.

        Those of its base and task, overlaid by the variation's. A model of another kind uses from ``model`` only
        the choice of its tokens.
        """
        planned, base = self.planned[model], self._base(model)
        training = {
            **configuration.training_settings(self.config["training"], base.role, task, self.tasks[task].kind),
            **planned.training,
            # as in the public code: a schedule of a fixed number of epochs, coordinated gradients
            **({"min_steps": 0} if base.kind == "released" else {}),
            **({"cgc": True} if (base.kind, base.role) == ("released", "teacher") else {}),
        }  # fmt: skip
        shape = configuration.merge(self.config["model"], planned.model)
        if base.role == "baseline":
            shape = {key: shape[key] for key in ("tokens", "token_order")}
        else:
            shape = {**shape, "subspaces": list(self.config["subspaces"])}
        network = self._network_settings(model)
        own = self.config["comparison"]["own_models"].get(planned.base)
        search = self.config["comparison"]["search"]
        return {
            **self._sections("protocol", "seed"),
            "task": self.tasks[task].to_plain(),
            "base": planned.base,
            # a failed training run then leaves a gap in the tables and does not end the run
            "may_fail": model not in names("method"),
            "model": shape,
            "training": training,
            "seeds": len(self.seeds),
            "logger": self.config["training"]["logger"],
            "network": network,
            "gene_groups": _file_hash(network.get("gene_groups")) if not own else None,
            "own": _own_network(own, base) if own else None,
            "lineage": {self._base(source).role: source for source in planned.trained_after},
            "search": search if search["trials"] else None,
        }

    def _network_settings(self, model: str) -> dict[str, Any]:
        """Settings of a network that is not the method's: inherited, configured and varied."""
        planned, base, compared = self.planned[model], self._base(model), self.config["comparison"]
        if base.role != "baseline":
            return {}
        own = compared["own_models"].get(planned.base)
        configured = own.get("settings", {}) if own else compared["settings"].get(planned.base, {})
        inherited = {key: self.config["model"][key] for key in base.inherits}
        read = self.config["slides"]["magnifications"]
        if read != "both" and "slides" in base.learns_from and not own:
            inherited["magnifications"] = [read]
        return configuration.merge(configuration.merge(inherited, configured), planned.settings)

    def _sections(self, *keys: str) -> dict[str, Any]:
        return {key: self.config[key] for key in keys}

    def _base(self, model: str) -> Model:
        """The model of the catalogue that a planned one is or varies."""
        return self.catalogue[self.planned[model].base]

    def catalogue_settings(self) -> dict[str, Any]:
        """What :func:`pathduet.catalogue.catalogue_of` reads from the configuration, without what changes no model's description."""
        read = ("learns_from", "predicts_from")
        own = {
            name: {key: entry[key] for key in read if key in entry}
            for name, entry in self.config["comparison"]["own_models"].items()
        }
        return {
            "comparison": {"own_models": own},
            "evaluation": {"clinical_baselines": self.config["evaluation"]["clinical_baselines"]},
            "covariates": self.config["covariates"],
        }

    def evaluation_settings(self, table: str) -> dict[str, Any]:
        """Settings of a table's metrics and intervals, and the publication's numbers if they concern these patients."""
        one = self.every_table[table]
        return {
            **self._sections("protocol", "seed"),
            "bootstrap": self.config["evaluation"]["bootstrap"],
            "seeds": len(self.seeds),
            "gain_over": self.config["evaluation"]["gain_over"],
            "tasks": {name: task.to_plain() for name, task in self.tasks.items() if one.task in ("", name)},
            "catalogue": self.catalogue_settings(),
            "left_out": sorted(self.left_out),
            "published": self._published(one.external),
        }

    def _published(self, external: bool) -> dict[str, Any] | None:
        published = self.config["published"]
        if published is None:
            return None
        pattern = published.get("external" if external else "internal")
        cohorts = self.config["cohorts"]["external" if external else "internal"]
        ids = self.patients.index[self.patients["cohort"].isin(cohorts)]
        shown = bool(pattern) and all(re.match(pattern, str(patient)) for patient in ids)
        return {**published, "preset": self.config["preset"], "shown": shown}

    def explained_models(self, task: str) -> list[tuple[str, str]]:
        """(task, model) of the models that are explained: the chosen ones, and those compared with them."""
        wanted = self.config["explanations"]["models"]
        held = self.regressions(task) if self.tasks[task].kind == "survival" else []
        return [(task, model) for model in self.models(task) if model in wanted or model in held]

    def explanation_files(self, task: str) -> list[Path]:
        """Return the files in a task's folder of explanations."""
        names = files_of(self.tasks[task], self.has_slides, self.has_expression)
        return [self.results.explanations(task) / name for name in names]

    def _annotations(self) -> dict[str, Path]:
        """Expected paths of the slides' region annotations; the demo's are drawn with its slides."""
        pattern = self.config["explanations"]["regions"]["annotations"]
        used = [slide.slide_id for slide in self.slides if pattern and not (slide.exclude or self.drawn_from)]
        return {slide_id: Path(pattern.replace("{slide_id}", slide_id)) for slide_id in used}

    def annotation_paths(self) -> list[str]:
        """Return the slides' region annotations that exist, and their legend."""
        found = [str(path) for path in self._annotations().values() if path.is_file()]
        return [*found, *_named(self.config["explanations"]["regions"]["legend"] if found else None)]

    def explanation_settings(self, task: str) -> dict[str, Any]:
        """Settings of a task's explanations; regions only of the run's own subspaces."""
        chosen = self.config["explanations"]
        regions = chosen["regions"]
        own = {name: of for name, of in regions["structures"].items() if name in self.config["subspaces"]}
        return {
            **self._sections("seed"),
            "explanations": {
                **{key: chosen[key] for key in chosen if key not in ("heatmaps", "models")},
                "regions": {**regions, "structures": own},
            },
            "task": self.tasks[task].to_plain(),
            "subspaces": list(self.config["subspaces"]),
            "catalogue": self.catalogue_settings(),
            "bootstrap": self.config["evaluation"]["bootstrap"],
            "models": [model for _, model in self.explained_models(task)],
            "folds": self.config["split"]["folds"],
            "external": external_table(task) in self.tables,
            "has_slides": self.has_slides,
            "has_expression": self.has_expression,
        }

    @property
    def released_model(self) -> str:
        """The model that predicts new slides: as configured, or the student if a run has no expression."""
        wanted = str(self.config["predict"]["model"])
        return "student" if wanted in self.left_out else wanted


def _file_hash(file: object) -> str | None:
    """Return a named file's hash, so that an edit reruns training; None if missing (training reports it)."""
    return sha256_file(Path(file)) if isinstance(file, str) and Path(file).is_file() else None


def _own_network(own: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Return a user's network as a rule's parameter: its source's hash, so that an edit reruns training."""
    return {
        "file": own["file"],
        "network": own["network"],
        "sha256": sha256_file(own["file"]),
        "learns_from": list(model.learns_from),
        "predicts_from": list(model.predicts_from),
    }


def _learned(settings: Mapping[str, Any], base: Model) -> dict[str, Any]:
    """Return the settings of a training run that affect its result."""
    unread: tuple[str, ...] = ()
    if base.kind == "method":
        # settings of the students' clusters, and of the genes' tokens
        if base.role == "teacher":
            unread = ("neighbors", "refinements", "aggregation")
        elif "expression" not in base.learns_from:
            unread = ("gene_input",)

    def without(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
        return {key: value for key, value in mapping.items() if key not in keys}

    return {
        **without(settings, "logger"),
        # the other keys of a task are for evaluation
        "task": without(settings["task"], "clinical_baselines", "external", "malignancy_score"),
        "model": without(settings["model"], *unread),
        "training": without(settings["training"], "cache_mib"),
    }


def _named(*files: str | None) -> list[str]:
    return [file for file in files if file and file != "shipped"]


def _manifests(results: Results, batch: str) -> list[Path]:
    return [results.batch(stage, batch) for stage in ("stain", "foreign_features")]


def _split_settings(
    config: Mapping[str, Any], patients: pd.DataFrame, slides: Sequence[SlideRow]
) -> dict[str, Any]:
    internal = patients.index[patients["cohort"].isin(config["cohorts"]["internal"])]
    return {
        **config["split"],
        "sites": sites_of(internal, slides) if config["split"]["site_preserving"] else None,
        "seed": config["seed"],
        "protocol": config["protocol"],
        "internal": config["cohorts"]["internal"],
        "tasks": [task.to_plain() for task in tasks_of(config).values()],
    }
