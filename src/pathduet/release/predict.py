"""New slides through the engine and a release's models: one prediction.json and one page a slide, one table for all."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet import __version__
from pathduet.cohort.ledger import build_ledger
from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import InputError, PathDuetError, Problem
from pathduet.core.files import write_json, write_text, write_tsv
from pathduet.core.hardware import limit_threads, pick_device
from pathduet.core.progress import track
from pathduet.core.provenance import settings_hash
from pathduet.core.source_code import code_version
from pathduet.expression.fold_matrix import FoldExpression
from pathduet.expression.tables import ExpressionTable
from pathduet.release import page
from pathduet.release.answers import class_answer, survival_answer
from pathduet.release.heatmaps import FOLDER, fold_maps, write_heatmaps
from pathduet.release.load import Release, check_encoder, release_name
from pathduet.release.model_card import NOTICE
from pathduet.release.reference import slide_facts
from pathduet.results import Results
from pathduet.slides.batch import run_stages, write_manifest
from pathduet.slides.status import StageStatus
from pathduet.training.dataset import Case
from pathduet.training.outcomes import ClassOutcome, SurvivalOutcome
from pathduet.training.predict import predict_cases

if TYPE_CHECKING:
    import pandas as pd

    from pathduet.explain.tile_maps import SlideMaps

FORMAT = 1
PREDICTION, PAGE = "prediction.json", "prediction.html"


@dataclass(frozen=True)
class Sample:
    """A slide's expression, scaled as each fold's teacher takes it.

    Attributes
    ----------
    folds : dict of int to FoldExpression
        The whole table in each fold's scale.
    unit : str
        What the table was read as.
    notes : tuple of str
        What the reader should know about it.
    """

    folds: Mapping[int, FoldExpression]
    unit: str
    notes: tuple[str, ...]

    def covers(self, slide: SlideRow) -> bool:
        """Return whether the table has a sample of the slide or its patient."""
        return any(e.row_for(slide.patient_id, slide.slide_id) is not None for e in self.folds.values())

    def hash(self, slide: SlideRow) -> str:
        """Return a hash of the slide's values."""
        rows = [e.row_for(slide.patient_id, slide.slide_id) for _, e in sorted(self.folds.items())]
        return settings_hash([[part.tolist() for part in row] for row in rows if row is not None])


def scaled(release: Release, table: ExpressionTable | None) -> Sample | None:
    """Bring a table to every fold's scale.

    Raises
    ------
    InputError
        If the release has no model that reads expression, or the table does not fit its genes and units.
    """
    if table is None:
        return None
    if not any(release.model_for(task, "expression") for task in release.manifest["tasks"]):
        found = f"release {release.manifest['name']} has no model that reads expression"
        raise InputError([Problem("expression", found, "leave it out, or export with the teacher")])
    notes = {note for one in release.scalings.values() for note in one.notes(table)}
    folds = {fold: one.apply(table) for fold, one in release.scalings.items()}
    return Sample(folds, table.unit, tuple(sorted(notes)))


def named_by_samples(slides: Sequence[SlideRow], table: ExpressionTable | None) -> list[SlideRow]:
    """Give slides that came without a sheet the patient whom a sample sheet names for them."""
    if table is None:
        return list(slides)
    patients = {s: p for p, s in zip(table.samples["patient_id"], table.samples["slide_id"]) if s}
    return [
        replace(slide, patient_id=str(patients.get(slide.slide_id, slide.patient_id)))
        if slide.cohort == "folder"
        else slide
        for slide in slides
    ]


def check_folder(slides: Sequence[SlideRow], out: Path) -> None:
    """Refuse an output folder that holds raw slides."""
    inside = [slide for slide in slides if slide.path.resolve().is_relative_to(out.resolve())]
    beside = [slide for slide in slides if slide.path.resolve().parent == out.resolve()]
    if inside or beside:
        found = f"raw slides are in it ({(inside or beside)[0].path.name})"
        raise InputError([Problem(f"--out {out}", found, "give a folder of its own")])


def predict_slides(
    slides: Sequence[SlideRow],
    release: Release,
    out: Path,
    expression: ExpressionTable | None = None,
    workers: int = 1,
    device: str = "auto",
    heatmaps: bool = True,
) -> pd.DataFrame:
    """Predict slides; a slide that fails is a row of the ledger and ends nothing else.

    Slides whose prediction is there and was made from the same features, expression, release and code are kept.

    Parameters
    ----------
    slides : sequence of SlideRow
    release : Release
    out : Path
        Gets slides/<slide_id>/, predictions.tsv and ledger.tsv.
    expression : ExpressionTable, optional
        Slides that it has a sample for are predicted by the models that read expression.
    workers : int
        Processes or threads of the slide stages.
    device : str
        For the models.
    heatmaps : bool
        Whether each slide gets heatmaps/: pictures, GeoJSON for QuPath and pages to zoom into.

    Returns
    -------
    DataFrame
        The ledger.
    """
    import torch

    check_folder(slides, out)
    check_encoder(release)
    slides = named_by_samples(slides, expression)
    sample = scaled(release, expression)
    limit_threads(workers)
    chosen = torch.device(pick_device(device))
    statuses = run_stages(slides, "features", out, release.settings, workers)
    ended, answers = [], []
    pairs = zip(slides, statuses, strict=True)
    for slide, status in track(pairs, len(slides), "predicting", "slides"):
        final, answer = _one(slide, status, release, sample, out, chosen, heatmaps)
        ended.append(final)
        answers.append(answer)
    manifest = Results(out).batch("predict", "all")
    write_manifest(manifest, ended)
    ledger = build_ledger(slides, [manifest])
    write_tsv(out / "ledger.tsv", ledger)
    write_tsv(out / "predictions.tsv", predictions_table(answers))
    return ledger


def _one(
    slide: SlideRow,
    status: StageStatus,
    release: Release,
    sample: Sample | None,
    out: Path,
    device: Any,
    heatmaps: bool,
) -> tuple[StageStatus, dict[str, Any]]:
    folder = Results(out).slide(slide.slide_id)
    covered = sample if sample is not None and sample.covers(slide) else None
    key = ""
    if status.status == "ok":
        parts = [
            release.id,
            status.key,
            dict(status.sha256),
            slide.patient_id,
            status.notes,
            page.source_hash(),
            heatmaps,
        ]
        parts += [covered.hash(slide), covered.notes] if covered is not None else []
        key = settings_hash([*parts, code_version("pathduet.release.predict")])
        kept = _kept(folder, key)
        if kept is not None:
            return status, kept
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    try:
        answer = _answer(slide, status, release, covered, folder, device, key)
        maps = _maps(folder, release, answer, covered, slide, every_task=heatmaps)
        if heatmaps:
            _add_heatmaps(folder, answer, maps, slide)
        pictures = page.pictures(folder, release, answer, maps)
    # Whatever goes wrong with one slide is written down; the others are predicted.
    except Exception as error:
        if not isinstance(error, PathDuetError):
            traceback.print_exc(file=sys.stderr)
        message = f"the prediction failed ({_said(error, slide, out)})"
        status = replace(
            status, status="failed", reason="failed", message=message, failed_stage="predict", key=""
        )
        print(f"slide {slide.slide_id}: {message}", file=sys.stderr, flush=True)
        answer, pictures = _answer(slide, status, release, None, folder, device, ""), []
    write_text(folder / PAGE, page.render(answer, pictures))
    write_json(folder / PREDICTION, answer)  # last: with it the slide is done
    return status, answer


def _said(error: Exception, slide: SlideRow, out: Path) -> str:
    """Return an error as text without this machine's folders."""
    text = str(error).replace(str(slide.path.parent), "").replace(str(out), "")
    return f"{type(error).__name__}: {text}"


def _maps(
    folder: Path,
    release: Release,
    answer: Mapping[str, Any],
    sample: Sample | None,
    slide: SlideRow,
    *,
    every_task: bool,
) -> dict[str, list[SlideMaps]]:
    """Return the folds' maps of the first task that has any, or of every one."""
    found: dict[str, list[SlideMaps]] = {}
    rows = {} if sample is None else {
        fold: one.row_for(slide.patient_id, slide.slide_id) for fold, one in sample.folds.items()
    }  # fmt: skip
    for task, said in answer["tasks"].items():
        maps = fold_maps(folder / "features.h5", release, task, said["model"], rows)
        if maps:
            found[task] = maps
            if not every_task:
                break
    return found


def _add_heatmaps(
    folder: Path, answer: dict[str, Any], maps: Mapping[str, list[SlideMaps]], slide: SlideRow
) -> None:
    """Write the heatmaps; what cannot be drawn is a note, since the prediction stands without it."""
    try:
        answer["heatmaps"] = write_heatmaps(folder, maps, slide.path) or None
    except (PathDuetError, OSError) as error:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        note = f"no heatmaps ({_said(error, slide, folder)})"
        answer["ledger"]["notes"] = "; ".join(filter(None, [answer["ledger"]["notes"], note]))


def _kept(folder: Path, key: str) -> dict[str, Any] | None:
    import json

    try:
        found = json.loads((folder / PREDICTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("key") != key:
        return None
    parts = [name for files in (found["heatmaps"] or {}).values() for name in files.values()]
    return found if all((folder / name).is_file() for name in (PAGE, *parts)) else None


def _answer(
    slide: SlideRow,
    status: StageStatus,
    release: Release,
    sample: Sample | None,
    folder: Path,
    device: Any,
    key: str,
) -> dict[str, Any]:
    """Return the content of prediction.json."""
    answer: dict[str, Any] = {
        "format": FORMAT,
        "notice": NOTICE,
        "key": key,
        "package_version": __version__,
        "release": release_name(release),
        "slide": {
            "slide_id": slide.slide_id,
            "patient_id": slide.patient_id,
            "file": slide.path.name,
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
        "expression": None
        if sample is None
        else {"used": True, "unit": sample.unit, "notes": list(sample.notes)},
        "tasks": {},
        "hints": None,
        "heatmaps": None,
    }
    if status.status != "ok":
        return answer
    features = folder / "features.h5"
    facts = slide_facts(features, folder / "stain.json")
    hints = release.reference.hints(facts)
    seen = release.reference.test_fold(facts.fingerprint)
    hints["seen_in_training"] = seen is not None
    hints["only_unseen_by_fold"] = seen
    answer["hints"] = hints
    case = Case(slide.slide_id, slide.patient_id, slide.cohort, "external", features)
    for task in release.manifest["tasks"]:
        named = release.model_for(task, "expression") if sample is not None else None
        model = named or release.model_for(task, "slides")
        if model is None:  # a teacher's release, and no expression of this slide
            continue
        answer["tasks"][task] = {"model": model, **_task(release, task, model, case, sample, device)}
    if not answer["tasks"]:
        raise InputError(
            [Problem(f"slide {slide.slide_id}", "no expression, and the release has no model of slides alone",
                     "give --expression with a sample of this slide's patient")]
        )  # fmt: skip
    return answer


def _task(
    release: Release, task: str, model: str, case: Case, sample: Sample | None, device: Any
) -> dict[str, Any]:
    import pandas as pd

    unknown = pd.DataFrame({"label": [], "survival_days": [], "event": []})
    tables, outcomes = [], []
    for network, description in release.networks(task, model):
        reads = description.choice.needs_expression
        expression = sample.folds[description.fold] if reads and sample is not None else None
        found = predict_cases(
            network.to(device), description, [case], unknown, expression=expression, device=device,
            where=f"release {release.manifest['name']}", show_progress=False,
        )  # fmt: skip
        numbers = found.table.select_dtypes("number").drop(
            columns=["bin", "survival_days", "event", "label"], errors="ignore"
        )
        if not np.isfinite(numbers.to_numpy(dtype=float)).all():
            raise PathDuetError(f"the {model} of {task}, fold {description.fold}, gave no finite numbers")
        tables.append(found.table)
        outcomes.append(description.outcome)
    first = outcomes[0]
    if isinstance(first, ClassOutcome):
        return class_answer(tables, first.classes)
    spans = [outcome for outcome in outcomes if isinstance(outcome, SurvivalOutcome)]
    return survival_answer(tables, spans, release.risks[model]["training_risks"])


def predictions_table(answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row a slide: what is predicted, how far the folds agree, and the verdict on the slide."""
    import pandas as pd

    rows = []
    for answer in answers:
        row: dict[str, Any] = {
            "slide_id": answer["slide"]["slide_id"],
            "patient_id": answer["slide"]["patient_id"],
            "status": answer["ledger"]["status"],
            "reason": answer["ledger"]["reason"],
            "like_training": (answer["hints"] or {}).get("verdict") or "",
            "expression": "yes" if answer["expression"] else "no",
        }
        for task, found in answer["tasks"].items():
            row[f"{task}.model"] = found["model"]
            if found["kind"] == "classes":
                row[task] = found["predicted"]
                row |= {f"{task}.p_{name}": p for name, p in found["probabilities"].items()}
            else:
                row[f"{task}.group"] = found["group"]
                row[f"{task}.risk"] = found["risk"]
                row[f"{task}.percentile"] = found["percentile"]
                row[f"{task}.median_days"] = found["median_survival_days"]
            agreement = found["agreement"]
            row[f"{task}.folds_agree"] = f"{agreement['folds']}/{agreement['of_folds']}"
        rows.append(row)
    return pd.DataFrame(rows)
