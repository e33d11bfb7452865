"""One slide's prediction: the folds' predictions, their ensemble, their agreement, and hints about the slide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pathduet import __version__
from pathduet.cohort.labels import TRUTH
from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import InputError, PathDuetError
from pathduet.evaluation.ensemble import ensemble_predictions
from pathduet.features.feature_file import features_in
from pathduet.models.method.config import MAGNIFICATIONS
from pathduet.release.load import Release
from pathduet.release.model_card import NOTICE
from pathduet.release.new_expression import NewExpression
from pathduet.release.reference import slide_profile
from pathduet.release.risk_reference import group_of_percentile, place_of
from pathduet.slides.status import StageStatus
from pathduet.training.dataset import SlideSample
from pathduet.training.predict import predict_samples
from pathduet.training.task_targets import ClassTarget, RegressionTarget, SurvivalTarget

if TYPE_CHECKING:
    import torch

FORMAT = 1
Row = Mapping[Any, Any]


def slide_answer(
    slide: SlideRow,
    status: StageStatus,
    release: Release,
    expression: NewExpression | None,
    folder: Path,
    device: torch.device,
    key: str,
) -> dict[str, Any]:
    """Return the content of prediction.json, see docs/predict.md.

    Parameters
    ----------
    slide, status : SlideRow, StageStatus
        A lost slide gets its reason and no predictions.
    release : Release
    expression : NewExpression or None
        None if it has no sample for the slide.
    folder : Path
        The slide's artifacts.
    device : torch.device
    key : str
        Hash of the prediction's inputs.

    Raises
    ------
    PathDuetError
        If no model of the release can predict the slide, or a model returns non-finite numbers.
    """
    answer: dict[str, Any] = {
        "format": FORMAT,
        "notice": NOTICE,
        "key": key,
        "package_version": __version__,
        "release": release.summary(),
        "slide": {
            "slide_id": slide.slide_id,
            "patient_id": slide.patient_id,
            "file": next(iter([*slide.foreign.values(), slide.path])).name,
            "mpp": status.mpp,
            "mpp_source": status.mpp_source,
        },
        "ledger": {
            "status": status.status,
            "reason": status.reason,
            "message": status.message,
            "stage": status.failed_stage,
            "notes": status.notes,
            "counts": dict(status.counts),
        },
        "expression": expression and {"used": True, "unit": expression.unit, "notes": list(expression.notes)},
        "tasks": {},
        "hints": None,
        "heatmaps": None,
    }
    if status.status != "ok":
        return answer
    profile = slide_profile(folder)
    seen = release.reference.test_fold(profile.fingerprint)
    answer["hints"] = {
        **release.reference.hints(profile), "seen_in_training": seen is not None, "only_unseen_by_fold": seen,
    }  # fmt: skip
    case = SlideSample(slide.slide_id, slide.patient_id, slide.cohort, "external", features_in(folder))
    for task in release.tasks:
        with_expression = release.model_for(task, "expression") if expression is not None else None
        model = with_expression or release.model_for(task, "slides")
        if model is not None:  # otherwise a teacher's release, and the slide has no expression
            answer["tasks"][task] = {"model": model, **_task(release, task, model, case, expression, device)}
    if not answer["tasks"]:
        found = "no expression, and the release has no model that reads slides only"
        raise InputError.of(
            f"slide {slide.slide_id}", found, "give --expression with a sample of this slide's patient"
        )
    return answer


def _task(
    release: Release,
    task: str,
    model: str,
    case: SlideSample,
    expression: NewExpression | None,
    device: torch.device,
) -> dict[str, Any]:
    """Return the folds' predictions of a task for one slide."""
    truth = TRUTH[release.tasks[task].kind]
    unknown = pd.DataFrame({column: [] for column in truth})
    tables, targets = [], []
    for network, description in release.networks(task, model):
        reads = description.choice.needs_expression and expression is not None
        table = predict_samples(
            network.to(device), description, [case], unknown, device=device, show_progress=False,
            expression=expression.folds[description.fold] if reads and expression else None,
            where=f"release {release.manifest['name']}",
        ).table  # fmt: skip
        numbers = table.select_dtypes("number").drop(columns=["bin", *truth], errors="ignore")
        if not np.isfinite(numbers.to_numpy(dtype=float)).all():
            raise PathDuetError(
                f"the {model} of {task}, fold {description.fold}, gave values that are not finite"
            )
        tables.append(table)
        targets.append(description.target)
    if isinstance(targets[0], ClassTarget):
        return class_answer(tables, targets[0].classes)
    if isinstance(targets[0], RegressionTarget):
        return value_answer(tables)
    intervals = [target for target in targets if isinstance(target, SurvivalTarget)]
    return survival_answer(tables, intervals, release.risks[task, model]["training_risks"])


def _probabilities(row: Row, prefix: str, classes: Sequence[str]) -> dict[str, float]:
    return {name: float(row[f"{prefix}_{name}"]) for name in classes}


def _likeliest(probabilities: Mapping[str, float]) -> str:
    return max(probabilities, key=lambda name: probabilities[name])


def _agreeing(said: Sequence[Sequence[str]]) -> int | None:
    """Return in how many folds both magnifications agree; None if a model does not predict each of them."""
    if any(len(names) < 2 for names in said):
        return None
    return sum(len(set(names)) == 1 for names in said)


def class_answer(tables: Sequence[pd.DataFrame], classes: Sequence[str]) -> dict[str, Any]:
    """Combine the folds' class probabilities of one slide.

    Parameters
    ----------
    tables : sequence of DataFrame
        One row each, from :func:`pathduet.training.predict.predict_samples`, one per fold.
    classes : sequence of str

    Returns
    -------
    dict
        JSON-ready, see docs/predict.md.
    """
    mean = ensemble_predictions(tables).to_dict("records")[0]
    probabilities = _probabilities(mean, "p", classes)
    best = _likeliest(probabilities)
    members: list[dict[str, Any]] = []
    for row in (table.to_dict("records")[0] for table in tables):
        single = {
            m: _probabilities(row, f"p{m[:2]}", classes)
            for m in MAGNIFICATIONS
            if f"p{m[:2]}_{classes[0]}" in row
        }
        members.append(
            {
                "fold": int(row["fold"]),
                "predicted": str(row["predicted"]),
                "probabilities": _probabilities(row, "p", classes),
                "by_magnification": single,
                "expert": str(row.get("expert", "")),
            }
        )
    spoken = [member["probabilities"][best] for member in members]
    likeliest = [[_likeliest(p) for p in member["by_magnification"].values()] for member in members]
    return {
        "kind": "classification",
        "predicted": best,
        "probabilities": probabilities,
        "agreement": {
            "folds": sum(member["predicted"] == best for member in members),
            "of_folds": len(members),
            "magnifications": _agreeing(likeliest),
            "sd_of_predicted": float(np.std(spoken)),
        },
        "members": members,
    }


def value_answer(tables: Sequence[pd.DataFrame]) -> dict[str, Any]:
    """Combine the folds' predicted numbers of one slide: their mean, in the label's own unit.

    Parameters
    ----------
    tables : sequence of DataFrame
        One row each, one per fold.
    """
    members: list[dict[str, Any]] = [
        {
            "fold": int(row["fold"]),
            "value": float(row["prediction"]),
            "by_magnification": {
                m: float(row[f"prediction_{m}"]) for m in MAGNIFICATIONS if f"prediction_{m}" in row
            },
        }
        for row in (table.to_dict("records")[0] for table in tables)
    ]
    values = [member["value"] for member in members]
    return {
        "kind": "regression",
        "value": float(ensemble_predictions(tables)["prediction"].iloc[0]),
        "agreement": {
            "of_folds": len(members),
            "range": [min(values), max(values)],
            "sd": float(np.std(values)),
        },
        "members": members,
    }


def survival_answer(
    tables: Sequence[pd.DataFrame],
    targets: Sequence[SurvivalTarget],
    training_risks: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """Combine the folds' hazards of one slide.

    A fold's risks are compared with its own training patients', since each fold has its own intervals and scale;
    the percentiles are averaged, and the group is the third of the training cohort that contains this mean.

    Parameters
    ----------
    tables : sequence of DataFrame
        One row each, one per fold.
    targets : sequence of SurvivalTarget
        The folds' intervals.
    training_risks : mapping
        Fold (as text) to risks of its training patients.
    """
    mean = ensemble_predictions(tables).to_dict("records")[0]
    members: list[dict[str, Any]] = []
    for row, target in zip((table.to_dict("records")[0] for table in tables), targets, strict=True):
        hazards = [float(row[f"h_{k + 1}"]) for k in range(target.outputs)]
        known = training_risks[str(int(row["fold"]))]
        percentile, group = place_of(float(row["risk"]), known)
        members.append(
            {
                "fold": int(row["fold"]),
                "edges_days": list(target.edges),
                "hazards": hazards,
                "survival_at_edges": [float(s) for s in np.cumprod(1 - np.array(hazards[:-1]))],
                "risk": float(row["risk"]),
                "percentile": percentile,
                "group": group,
                "by_magnification": {
                    m: {"risk": float(row[f"risk_{m}"]), "group": place_of(float(row[f"risk_{m}"]), known)[1]}
                    for m in MAGNIFICATIONS
                    if f"risk_{m}" in row
                },
            }
        )
    percentiles = [member["percentile"] for member in members]
    group = group_of_percentile(float(np.mean(percentiles)))
    days, survival = mean_curve(members)
    return {
        "kind": "survival",
        "risk": float(mean["risk"]),
        "percentile": float(np.mean(percentiles)),
        "group": group,
        "curve": {"days": days, "survival": survival},
        "median_survival_days": median_days(days, survival),
        "agreement": {
            "folds": sum(member["group"] == group for member in members),
            "of_folds": len(members),
            "magnifications": _agreeing(
                [[one["group"] for one in member["by_magnification"].values()] for member in members]
            ),
            "percentile_range": [min(percentiles), max(percentiles)],
        },
        "members": members,
    }


def mean_curve(members: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Return the mean of the folds' survival curves: days from 0, and the surviving share.

    Each fold's curve is interpolated linearly between the interval edges; the mean is evaluated at every fold's
    edges, up to the last day that all folds cover.
    """
    last = min(member["edges_days"][-1] for member in members)
    days = sorted({0.0, *(float(e) for member in members for e in member["edges_days"] if e <= last)})
    curves = [
        np.interp(days, [0.0, *member["edges_days"]], [1.0, *member["survival_at_edges"]])
        for member in members
    ]
    return days, [float(s) for s in np.mean(curves, axis=0)]


def median_days(days: Sequence[float], survival: Sequence[float]) -> float | None:
    """Return when the curve falls to one half; None if it stays above."""
    below = [i for i, share in enumerate(survival) if share <= 0.5]
    if not below:
        return None
    i = below[0]
    if i == 0:
        return float(days[0])
    (d0, d1), (s0, s1) = (days[i - 1], days[i]), (survival[i - 1], survival[i])
    return float(d0 + (s0 - 0.5) / (s0 - s1) * (d1 - d0))
