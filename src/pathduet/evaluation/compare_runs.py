"""Comparison of two runs: which settings differ, and each model's paired difference on the patients of both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pathduet.catalogue import catalogue_of, named
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.errors import InputError
from pathduet.core.plural import plural
from pathduet.core.provenance import read_run_record
from pathduet.evaluation.collect import Collected, collect, read_metrics
from pathduet.evaluation.fold_metrics import PROTOCOL_UNIT
from pathduet.evaluation.metrics import METRIC_NAMES, metric_names
from pathduet.evaluation.paired import PairedDifference, paired_differences
from pathduet.results import Results


def compare_runs(first: Path, second: Path) -> list[str]:
    """Return what `pathduet compare` prints.

    Parameters
    ----------
    first, second : Path
        Results folders of finished runs. A difference is the second minus the first in the task's first metric (higher = better),
        fold by fold on the patients that both folds' test parts share, with the first run's bootstrap settings.

    Raises
    ------
    InputError
        If a folder holds no finished run, or the runs share no task.
    """
    configs = [read_run_record(Results(folder).provenance)["config"] for folder in (first, second)]
    lines = [f"Settings that differ ({first} -> {second}):"]
    lines += [f"  {line}" for line in _differing(*configs)] or ["  none"]
    tasks = [tasks_of(config) for config in configs]
    common = [
        name for name, task in tasks[0].items() if name in tasks[1] and tasks[1][name].kind == task.kind
    ]
    if not common:
        raise InputError.of(
            str(second), "shares no task with the other run", "compare runs of the same tasks"
        )
    for name in common:
        lines += _task_lines(tasks[0][name], (first, second), configs)
    return [
        *lines,
        "(second minus first, above 0 = the second is better [95 % interval of paired patient draws])",
    ]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return ``key: one -> other`` for every setting but the results folder."""
    flat = [dict(_flat(config)) for config in (first, second)]
    return [
        f"{key}: {' -> '.join(json.dumps(one[key]) if key in one else 'not set' for one in flat)}"
        for key in dict.fromkeys([*flat[0], *flat[1]])
        if key != "results" and (key in flat[0], flat[0].get(key)) != (key in flat[1], flat[1].get(key))
    ]


def _task_lines(task: Task, runs: tuple[Path, Path], configs: list[Mapping[str, Any]]) -> list[str]:
    metric, catalogue = metric_names(task)[0], catalogue_of(configs[0])
    seeds = min(config["training"]["seeds"] for config in configs)
    found = [
        _collected(Results(folder), task, config, seeds) for folder, config in zip(runs, configs, strict=True)
    ]
    models = [model for model in found[0].models if model in found[1].models]
    titles = {model: named(model, catalogue).full_title for model in found[0].models + found[1].models}
    width = max(map(len, titles.values()), default=0)
    lines = [f"{task.title}, {METRIC_NAMES[metric]}"]
    for model in models:
        folds = [f for f in range(found[0].n_folds) if all((model, f) in one.predictions for one in found)]
        parts, reference = ([one.trainings(model, f) for f in folds] for one in reversed(found))
        differences, patients = paired_differences(
            parts, reference, task, PROTOCOL_UNIT[configs[0]["protocol"]],
            resamples=configs[0]["evaluation"]["bootstrap"], seed=configs[0]["seed"],
        )  # fmt: skip
        said = (
            _text(differences[metric]) if metric in differences else "not defined: too few patients in common"
        )
        lines.append(
            f"  {titles[model]:<{width}}  {said} ({plural(patients, 'patient')} in the same fold of both)"
        )
    for folder, one in zip(runs, found, strict=True):
        lines += [
            f"  {titles[model]:<{width}}  only in {folder}" for model in one.models if model not in models
        ]
    return lines


def _collected(results: Results, task: Task, config: Mapping[str, Any], seeds: int) -> Collected:
    try:
        told = {model for _, model, _ in read_metrics(results, task.name)}
    except (OSError, ValueError) as error:
        advice = "finish the run, or make its tables again"
        raise InputError.of(str(results.metrics(task.name)), f"cannot be read: {error}", advice) from None
    catalogue = catalogue_of(config)
    models = [model for model in catalogue if model in told]
    return collect(results, task, models, config["split"]["folds"], seeds=seeds, catalogue=catalogue)


def _text(found: PairedDifference) -> str:
    text = f"{found.value:+.3f}"
    return (
        text if found.low is None or found.high is None else f"{text} [{found.low:+.3f}, {found.high:+.3f}]"
    )
