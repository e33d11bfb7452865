"""Prediction of new slides with a release's models: one prediction.json and page per slide, one table for all."""

from __future__ import annotations

import json
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.cohort.ledger import build_ledger
from pathduet.cohort.sheets import SlideRow
from pathduet.core.checksums import CorruptArtifact, checked, is_damaged, record, recorded
from pathduet.core.errors import InputError, PathDuetError
from pathduet.core.faults import raise_machine_fault
from pathduet.core.files import write_json, write_text, write_tsv
from pathduet.core.hardware import limit_threads, pick_device
from pathduet.core.progress import track
from pathduet.core.provenance import settings_hash
from pathduet.core.source_code import code_version
from pathduet.expression.tables import ExpressionTable
from pathduet.features.feature_file import features_in
from pathduet.release import page
from pathduet.release.answers import slide_answer
from pathduet.release.heatmaps import FOLDER, fold_maps, write_heatmaps
from pathduet.release.load import Release, check_encoder
from pathduet.release.new_expression import NewExpression, named_by_samples, scale_expression
from pathduet.results import Results
from pathduet.slides.batch import run_batch, write_manifest
from pathduet.slides.foreign_features import ForeignSettings, take_batch
from pathduet.slides.readers.frame import FrameName
from pathduet.slides.status import STAGES, StageStatus

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from pathduet.explain.tile_maps import SlideMaps

PREDICTION, PAGE = "prediction.json", "prediction.html"


def check_folder(slides: Sequence[SlideRow], out: Path) -> None:
    """Refuse an output folder that contains raw slides."""
    raw = [slide for slide in slides if slide.has_raw]
    inside = [slide for slide in raw if slide.path.resolve().is_relative_to(out.resolve())]
    beside = [slide for slide in raw if slide.path.resolve().parent == out.resolve()]
    if inside or beside:
        found = f"raw slides are in it ({(inside or beside)[0].path.name})"
        raise InputError.of(f"--out {out}", found, "give another folder")


def predict_slides(
    slides: Sequence[SlideRow],
    release: Release,
    out: Path,
    expression: ExpressionTable | None = None,
    workers: int = 1,
    device: str = "auto",
    heatmaps: bool = True,
    frame: FrameName | None = None,
) -> pd.DataFrame:
    """Predict slides; a slide that fails becomes a row of the ledger and does not stop the others.

    Existing predictions from the same features, expression, release and code are kept.

    Parameters
    ----------
    slides : sequence of SlideRow
    release : Release
    out : Path
        Receives slides/<slide_id>/, predictions.tsv and ledger.tsv.
    expression : ExpressionTable, optional
        Slides with a sample in it are predicted by the models that read expression.
    workers : int
        Processes or threads for the slide stages.
    device : str
        For the models.
    heatmaps : bool
        Whether to write heatmaps/ for each slide: pictures, GeoJSON for QuPath and zoomable pages.
    frame : {"level0", "qupath"} or None
        Origin of the GeoJSON's coordinates, see :func:`pathduet.slides.readers.frame.frame_of`.

    Returns
    -------
    DataFrame
        The ledger.
    """
    import torch

    check_folder(slides, out)
    slides = [slide.at(release.magnifications) for slide in named_by_samples(slides, expression)]
    if any(not slide.foreign for slide in slides):
        check_encoder(release)
    scaled = scale_expression(release, expression)
    limit_threads(workers)
    run = _Run(release, scaled, Results(out), torch.device(pick_device(device)), heatmaps, frame)
    statuses = _features(slides, release, out, workers)
    pairs = track(zip(slides, statuses, strict=True), len(slides), "predicting", "slides")
    done = [run.predict(slide, status) for slide, status in pairs]
    manifest = run.out.batch("predict", "all")
    write_manifest(manifest, [status for status, _ in done])
    ledger = build_ledger(slides, [manifest])
    write_tsv(out / "ledger.tsv", ledger)
    write_tsv(out / "predictions.tsv", predictions_table([answer for _, answer in done]))
    record([manifest, out / "ledger.tsv", out / "predictions.tsv"])
    return ledger


def _features(slides: Sequence[SlideRow], release: Release, out: Path, workers: int) -> list[StageStatus]:
    """Encode slides; check the features that another tool computed."""
    tile = release.settings.tile
    raw, given = [s for s in slides if not s.foreign], [s for s in slides if s.foreign]
    found = run_batch(raw, STAGES, out, release.settings, workers=workers) if raw else []
    if given:
        foreign = ForeignSettings(None, tile.min_tiles, tile.default_mpp)
        found += take_batch(given, out, foreign, Results(out).batch("foreign_features", "all"))
    by_id = {status.slide_id: status for status in found}
    return [by_id[slide.slide_id] for slide in slides]


@dataclass(frozen=True)
class _Run:
    """The shared inputs of all slides' predictions."""

    release: Release
    expression: NewExpression | None
    out: Results
    device: torch.device
    heatmaps: bool
    frame: FrameName | None

    def predict(self, slide: SlideRow, status: StageStatus) -> tuple[StageStatus, dict[str, Any]]:
        """Predict one slide; return its status and the content of its prediction.json."""
        folder = self.out.slide(slide.slide_id)
        known = self.expression
        expression = known if known is not None and known.covers(slide) else None
        key = self._key(slide, status, expression) if status.status == "ok" else ""
        if key and (kept := _kept(folder, key)) is not None:
            return status, kept
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        try:
            answer = slide_answer(slide, status, self.release, expression, folder, self.device, key)
            maps = self._maps(slide, folder, answer, expression)
            if self.heatmaps:
                _add_heatmaps(folder, answer, maps, slide, self.frame)
            pictures = page.pictures(folder, self.release, answer, maps)
        # Any error with one slide is recorded; the others are predicted.
        except Exception as error:
            raise_machine_fault(error, f"slide {slide.slide_id}")
            if not isinstance(error, PathDuetError):
                traceback.print_exc(file=sys.stderr)
            message = f"the prediction failed ({_without_folders(error, slide, folder)})"
            status = replace(
                status, status="failed", reason="failed", message=message, failed_stage="predict", key=""
            )
            print(f"slide {slide.slide_id}: {message}", file=sys.stderr, flush=True)
            answer, pictures = slide_answer(slide, status, self.release, None, folder, self.device, ""), []
        write_text(folder / PAGE, page.render(answer, pictures, self.release.tasks))
        write_json(folder / PREDICTION, answer)
        record(_files(folder, answer))  # last: it marks the slide as done
        return status, answer

    def _key(self, slide: SlideRow, status: StageStatus, expression: NewExpression | None) -> str:
        """Return a hash of all inputs of the slide's prediction."""
        parts: list[Any] = [
            self.release.id, status.key, dict(status.sha256), slide.patient_id, status.notes, self.heatmaps, self.frame,
            page.source_hash(), code_version("pathduet.release.predict"),
        ]  # fmt: skip
        parts += [expression.hash(slide), expression.notes] if expression is not None else []
        return settings_hash(parts)

    def _maps(
        self, slide: SlideRow, folder: Path, answer: Mapping[str, Any], expression: NewExpression | None
    ) -> dict[str, list[SlideMaps]]:
        """Return the folds' maps of all tasks that have any; without heatmaps only the first task's."""
        rows = {
            fold: one.row_for(slide.patient_id, slide.slide_id)
            for fold, one in (expression.folds.items() if expression else ())
        }
        found: dict[str, list[SlideMaps]] = {}
        for task, said in answer["tasks"].items():
            if found and not self.heatmaps:
                break
            if maps := fold_maps(features_in(folder), self.release, task, said["model"], rows):
                found[task] = maps
        return found


def _without_folders(error: Exception, slide: SlideRow, folder: Path) -> str:
    """Return an error as text without the names of this machine's folders."""
    text = str(error).replace(str(folder.parents[1]), "")
    if slide.has_raw:
        text = text.replace(str(slide.path.parent), "")
    return f"{type(error).__name__}: {text}"


def _add_heatmaps(
    folder: Path,
    answer: dict[str, Any],
    maps: Mapping[str, list[SlideMaps]],
    slide: SlideRow,
    frame: FrameName | None,
) -> None:
    """Write the heatmaps; a failure becomes a note, since the prediction remains valid without them."""
    try:
        answer["heatmaps"] = write_heatmaps(folder, maps, slide, frame) or None
    except (PathDuetError, OSError) as error:
        raise_machine_fault(error, f"slide {slide.slide_id}, heatmaps")
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        note = f"no heatmaps ({_without_folders(error, slide, folder)})"
        answer["ledger"]["notes"] = "; ".join(filter(None, [answer["ledger"]["notes"], note]))


def _kept(folder: Path, key: str) -> dict[str, Any] | None:
    """Return a slide's earlier prediction, if its inputs are the same and all its files are intact."""
    try:
        found: dict[str, Any] = json.loads(checked(folder / PREDICTION).read_text(encoding="utf-8"))
    except (OSError, ValueError, CorruptArtifact):
        return None
    files = _files(folder, found)
    whole = all(path.is_file() and recorded(path) and not is_damaged(path) for path in files)
    return found if whole and found["key"] == key else None


def _files(folder: Path, answer: Mapping[str, Any]) -> list[Path]:
    """Return the files of a slide's prediction."""
    parts = [name for files in (answer["heatmaps"] or {}).values() for name in files.values()]
    return [folder / name for name in (PAGE, *parts, PREDICTION)]


def predictions_table(answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per slide: what is predicted, how far the folds agree, and the verdict on the slide."""
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
            if found["kind"] == "regression":
                row[task] = found["value"]
                row |= dict(zip((f"{task}.lowest_fold", f"{task}.highest_fold"), found["agreement"]["range"]))
                continue
            if found["kind"] == "classification":
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
