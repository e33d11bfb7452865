"""One result table from the predictions of its models in every fold: metrics, intervals, tests, and the table's files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from pathduet.catalogue import Model, catalogue_of, named, reference_model
from pathduet.cohort.tasks import Task
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError
from pathduet.core.files import write_json, write_tsv
from pathduet.evaluation.calibration import calibration_rows
from pathduet.evaluation.collect import Collected, collect
from pathduet.evaluation.ensemble import ENSEMBLE, ensemble_predictions
from pathduet.evaluation.fold_metrics import evaluate_predictions
from pathduet.evaluation.model_summary import ModelSummary, read_record, summarise_model
from pathduet.evaluation.predictions import evaluated_part, read_predictions
from pathduet.evaluation.published_numbers import published_numbers
from pathduet.evaluation.table_files import write_table
from pathduet.evaluation.table_sections import Words
from pathduet.evaluation.tables import correct_for_tests, result_table
from pathduet.result_tables import ResultTable
from pathduet.results import DESCRIPTION, PREDICTIONS, TRAINING_PREDICTIONS, Results


def evaluate_table(
    results: Results,
    table: ResultTable,
    rows: Sequence[Mapping[str, str]],
    n_folds: int,
    settings: Mapping[str, Any],
) -> pd.DataFrame:
    """Write a table's metrics and files, and return it.

    Files: the metrics as JSON, the table as TSV, Markdown, HTML and SVG; for an external table also the predictions of
    every model's ensemble. Missing or failed results leave a hole with its reason.

    Parameters
    ----------
    table : ResultTable
        Which table.
    rows : sequence of mapping
        ``task`` and ``model`` of each row; in a table of variations also ``group`` (rows that are compared with each other),
        ``title`` and ``base`` (the model that is varied). A model in two groups has a row in both.
    settings : mapping
        ``protocol``, ``seed``, ``bootstrap`` (number of resamples), ``seeds`` (trainings of a network on a fold); ``tasks`` (by
        name, as :meth:`~pathduet.cohort.tasks.Task.to_plain` returns them); ``catalogue`` (what
        :func:`~pathduet.catalogue.catalogue_of` reads); ``published`` (see
        :func:`~pathduet.evaluation.published_numbers.published_numbers`); optionally ``gain_over`` (see
        :func:`~pathduet.catalogue.reference_model`) and ``left_out`` (models that the run cannot train).

    Returns
    -------
    DataFrame
        Columns of :func:`pathduet.evaluation.tables.result_table`; rows of groups start with `group`. Holm's correction covers
        all tests of the table.
    """
    grouped = any(row.get("group") for row in rows)
    parts: list[pd.DataFrame] = []
    metrics: dict[str, dict[str, Any]] = {}
    calibrated: list[dict[str, Any]] = []
    tasks = {name: Task.of(name, plain) for name, plain in settings["tasks"].items()}
    catalogue = catalogue_of(settings["catalogue"])
    published = published_numbers(settings["published"])
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        found = collect(
            results,
            tasks[task],
            list(dict.fromkeys(row["model"] for row in own)),
            n_folds,
            external=table.external,
            truth=pd.DataFrame(settings["truth"]) if settings.get("truth") else None,
            seeds=settings["seeds"],
            catalogue=catalogue,
        )
        summaries = _summarise(results, found, own, catalogue, settings.get("left_out", ()))
        _compute_metrics(results, found, catalogue, settings)
        if found.external:
            _add_ensembles(results, found, settings)
        numbers = result_table(
            found, summaries, published=published,
            reference=reference_model(catalogue, tasks[task], settings.get("gain_over")), resamples=settings["bootstrap"],
            seed=settings["seed"],
        )  # fmt: skip
        parts += _in_groups(numbers, own) if grouped else [numbers]
        metrics |= dict(_metrics_and_failures(found))
        calibrated += [] if grouped else _calibration(found, summaries)
    whole = correct_for_tests(pd.concat(parts, ignore_index=True))
    write_json(results.metrics(table.name), metrics)
    calibration = pd.DataFrame(calibrated, columns=["model", "fold", "of", "measure", "value"])
    write_table(
        whole, results, table.name, table.title, Words(tasks, catalogue, published.cohort), calibration
    )
    return whole


def _summarise(
    results: Results,
    found: Collected,
    rows: Sequence[Mapping[str, str]],
    catalogue: Mapping[str, Model],
    left_out: Collection[str],
) -> dict[str, ModelSummary]:
    """Return the summaries of the rows' models, and read the predictions of the models they are tested against."""
    bases = {row["model"]: row.get("base", "") for row in rows}
    # an external cohort's predictions come from the same models
    summaries = {
        name: summarise_model(results, found.task, name, range(found.n_folds), catalogue, base, left_out)
        for name, base in bases.items()
    }
    # the model that a variation is tested against must be read, whether the table shows it or not
    others = {one.compared_with for one in summaries.values()} - {"", *bases}
    found.add_predictions(results, sorted(others))
    return summaries


def _compute_metrics(
    results: Results, found: Collected, catalogue: Mapping[str, Model], settings: Mapping[str, Any]
) -> None:
    """Evaluate every fold of the table's models; record what fails, but raise for the method's own models."""
    for (model, fold), table in list(found.predictions.items()):
        if evaluated_part(table).empty:
            found.failures[(model, fold)] = "nobody is predicted: no patient has what the model reads"
            del found.predictions[(model, fold)]
            continue
        if model not in found.models:
            continue
        one = named(model, catalogue)
        folder = results.model(found.task.name, model, fold)
        record = read_record(folder / DESCRIPTION)
        training = folder / TRAINING_PREDICTIONS
        try:
            found.metrics[(model, fold)] = evaluate_predictions(
                table, found.task, model, fold, repeats=found.repeats.get((model, fold), ()),
                # the model's own: a variation may use another variant than the configuration
                variant=record.get("variant", "paper" if one.is_network else one.kind),
                protocol=settings["protocol"], resamples=settings["bootstrap"], seed=settings["seed"],
                training=read_predictions(training) if checked(training).is_file() else None,
                notes=record.get("external_notes" if found.external else "notes"),
            )  # fmt: skip
        except (InputError, ValueError) as error:
            if one.kind == "method":
                raise
            found.failures[(model, fold)] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            del found.predictions[(model, fold)]


def _add_ensembles(results: Results, found: Collected, settings: Mapping[str, Any]) -> None:
    """Write the ensemble of each model's first trainings, as in a release, and add the mean metrics of all trainings' ensembles.

    Models with a failed fold are skipped.
    """
    for model in found.models:
        folds = [(model, fold) for fold in range(found.n_folds)]
        known = [found.trainings(*key) for key in folds if key in found.predictions]
        path = results.ensemble(found.task.name, model) / PREDICTIONS
        if len(known) < len(folds):
            empty = pd.DataFrame(columns=["slide_id", "patient_id", "cohort", "part", "fold"])
            write_tsv(path, known[0][0].iloc[:0] if known else empty)
            continue
        combined, *repeats = [ensemble_predictions(tables) for tables in zip(*known, strict=True)]
        write_tsv(path, combined)
        found.metrics[(model, ENSEMBLE)] = evaluate_predictions(
            combined, found.task, model, ENSEMBLE, repeats=repeats, variant=found.metrics[folds[0]]["variant"],
            protocol=settings["protocol"], resamples=settings["bootstrap"], seed=settings["seed"],
        )  # fmt: skip


def _in_groups(numbers: pd.DataFrame, rows: Sequence[Mapping[str, str]]) -> Iterator[pd.DataFrame]:
    for row in rows:
        part = numbers[numbers["model"] == row["model"]].copy()
        part["title"] = row["title"]
        part.insert(0, "group", row["group"])
        yield part


def _metrics_and_failures(found: Collected) -> Iterator[tuple[str, dict[str, Any]]]:
    for model in found.models:
        for fold in (*range(found.n_folds), *([ENSEMBLE] if found.external else [])):
            who = {"task": found.task.name, "model": model, "fold": fold}
            lacking = {**who, "failed": found.failures.get((model, fold), "a fold failed")}
            yield f"{found.task.name}/{model}/{fold}", found.metrics.get((model, fold), lacking)


def _calibration(found: Collected, summaries: Mapping[str, ModelSummary]) -> list[dict[str, Any]]:
    """Return model, fold, of, measure and value of every prediction that can be calibrated."""
    return [
        {"model": model, "fold": fold, **row}
        for (model, fold), table in found.predictions.items()
        if model in found.models
        for row in calibration_rows(
            table, found.task, found.metrics[(model, fold)]["unit"], summaries[model].edges.get(fold)
        )
    ]
