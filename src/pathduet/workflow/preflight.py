"""A look at everything a run would read, before it starts: better than a stack trace three days later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pathduet.cohort.sheets import SlideRow
from pathduet.core.errors import InputError, PathDuetError, SlideError
from pathduet.core.progress import track
from pathduet.features.agreement import FOREIGN, disagreements

if TYPE_CHECKING:
    from pathduet.workflow.plan import Plan


@dataclass
class SlideCheck:
    """What opening one slide told.

    Attributes
    ----------
    slide_id : str
    reason : str
        Empty if the slide can be used, else a key of ``errors.SLIDE_REASONS``.
    message : str
        Why not; or width, height, levels and pixel size with its source.
    """

    slide_id: str
    reason: str
    message: str
    mpp_source: str = ""


@dataclass
class Preflight:
    """The whole look.

    Attributes
    ----------
    sections : dict of str to list of str
        Heading to lines.
    slides : list of SlideCheck
        Empty if slides were not opened.
    """

    sections: dict[str, list[str]] = field(default_factory=dict)
    slides: list[SlideCheck] = field(default_factory=list)

    @property
    def lost_slides(self) -> list[SlideCheck]:
        """Slides that a run would lose (excluded ones are not lost)."""
        return [s for s in self.slides if s.reason not in ("", "excluded")]

    def text(self) -> str:
        """Return the report for a terminal."""
        lines = []
        for heading, body in self.sections.items():
            lines += [heading, *(f"  {line}" for line in body)]
        verdict = "Ready to run."
        if self.lost_slides:
            verdict = f"Ready to run, but {len(self.lost_slides)} slides will be lost (see above)."
        return "\n".join([*lines, verdict])


def check_slide(slide: SlideRow, default_mpp: float | None) -> SlideCheck:
    """Open one slide and find its pixel size; never raises for a bad slide."""
    from pathduet.slides.readers.pixel_size import pixel_size
    from pathduet.slides.readers.reader import SlideReader

    if slide.exclude:
        return SlideCheck(slide.slide_id, "excluded", slide.exclude)
    try:
        with SlideReader(slide.slide_id, slide.path, slide.scene) as reader:
            size = pixel_size(slide.slide_id, reader.properties, slide.mpp, default_mpp)
            width, height = reader.dimensions
            levels = len(reader.level_downsamples)
    except SlideError as error:
        return SlideCheck(slide.slide_id, error.reason, error.found)
    message = f"{width} x {height} px, {levels} levels, {size.x:.4g} um/px from {size.source}"
    return SlideCheck(slide.slide_id, "", message, size.source)


def preflight(value: Mapping[str, Any], *, open_slides: bool = True) -> Preflight:
    """Check configuration, sheets, folds, expression tables and gene lists, and open every slide.

    Parameters
    ----------
    value : mapping
        The configuration as read.
    open_slides : bool
        Open each slide for its pixel size and levels.

    Raises
    ------
    InputError
        If a run would refuse to start, with every problem found.
    """
    from pathduet.core.config import is_demo
    from pathduet.workflow import demo
    from pathduet.workflow.plan import Plan

    report = Preflight()
    if is_demo(value):
        report.sections["Demo"] = [demo.prepare()]
    plan = Plan.from_config(value)
    report.sections["Cohorts"] = _cohort_lines(plan)
    report.sections["Labels (internal cohorts)"] = _label_lines(plan)
    if plan.has_expression:
        report.sections["Expression"] = _expression_lines(plan)
    if plan.encoded_batches:
        report.sections["Encoder"] = _encoder_lines(plan)
    raw = [slide for slide in plan.slides if not slide.foreign]
    given = [slide for slide in plan.slides if slide.foreign]
    if open_slides and raw and not plan.drawn_from:
        default = plan.config["slides"]["default_mpp"]
        shown = track(raw, len(raw), "opening slides", "slides")
        report.slides = [check_slide(slide, default) for slide in shown]
        report.sections["Slides"] = _slide_lines(report.slides)
    if open_slides and given:
        checked, said = check_features(given, plan.foreign_settings()["layout"])
        report.slides += checked
        report.sections["Features of another tool"] = [
            f"{slide.slide_id}: {slide.reason + ': ' if slide.reason else ''}{slide.message}"
            for slide in checked
        ]
        problems = disagreements(said)
        if problems:
            raise InputError(problems)
    return report


def check_features(
    slides: Sequence[SlideRow], layout: str | None
) -> tuple[list[SlideCheck], dict[str, dict[str, str | int | float]]]:
    """Open the features that another tool made of slides, without reading all of them.

    Returns
    -------
    checks : list of SlideCheck
        Tiles, width and magnification of each, and what is missing.
    said : dict
        Slide id to width, encoder and magnification, of those that can be used.
    """
    from pathduet.slides.foreign_features import look_at

    checks: list[SlideCheck] = []
    said: dict[str, dict[str, str | int | float]] = {}
    for slide in track(slides, len(slides), "opening features", "slides"):
        if slide.exclude:
            checks.append(SlideCheck(slide.slide_id, "excluded", slide.exclude))
            continue
        try:
            found = {m: look_at(slide.slide_id, m, path, layout) for m, path in sorted(slide.foreign.items())}
        except SlideError as error:
            checks.append(SlideCheck(slide.slide_id, error.reason, error.found))
            continue
        parts = []
        for m, tiles in found.items():
            at = f"{tiles.mpp:.3g} um/px, read as {m}" if tiles.mpp else f"unsaid, read as {m}"
            parts.append(f"{tiles.n} tiles of {tiles.width} numbers, {tiles.layout}, {tiles.encoder}, {at}")
            said[slide.slide_id] = {
                "encoder": tiles.encoder,
                "feature_dim": tiles.width,
                FOREIGN: tiles.magnification or m,
            }
        tiles = next(iter(found.values()))
        missing = [] if slide.has_raw else ["no raw slide: no viewer page"]
        if tiles.coords is None:
            missing = ["no coordinates: no heatmap"]
        elif tiles.unit == "um" and not (slide.mpp or slide.has_raw):
            missing.append("no mpp: no heatmap")
        checks.append(SlideCheck(slide.slide_id, "", "; ".join([*parts, *missing])))
    return checks, said


def _cohort_lines(plan: Plan) -> list[str]:
    lines = []
    for cohort in [*plan.config["cohorts"]["internal"], *plan.external_cohorts]:
        patients = plan.patients[plan.patients["cohort"] == cohort]
        slides = [slide for slide in plan.slides if slide.cohort == cohort]
        without = len(set(patients.index) - {slide.patient_id for slide in slides})
        kind = "external" if cohort in plan.external_cohorts else "internal"
        line = f"{cohort} ({kind}): {len(patients)} patients, {len(slides)} slides"
        line += (
            ", no expression table" if plan.has_expression and cohort not in plan.expression_cohorts else ""
        )
        lines.append(line + (f", {without} patients without a slide" if without else ""))
    return lines


def _label_lines(plan: Plan) -> list[str]:
    from pathduet.cohort.labels import known_labels, label_columns, task_labels

    internal = plan.patients[plan.patients["cohort"].isin(plan.config["cohorts"]["internal"])]
    lines = []
    for task in plan.tasks.values():
        labels = task_labels(internal, task)
        known = known_labels(labels)
        if task.kind == "survival":
            line = f"{len(known)} patients, {int(known['event'].sum())} events"
        elif task.kind == "regression":
            low, middle, high = known["value"].quantile([0, 0.5, 1])
            line = f"{len(known)} patients, {low:g} to {high:g}, median {middle:g}"
        else:
            counts = known["label"].value_counts()
            line = ", ".join(f"{counts.get(name, 0)} {name}" for name in task.classes)
        missing = labels.loc[labels["reason"] != "", "reason"]
        columns = ", ".join(column for column in label_columns(task) if column in plan.patients.columns)
        line = f"{task.name} ({task.kind}; {columns}): {line}"
        lines.append(line + (f"; without label: {_counts(missing)}" if len(missing) else ""))
    lines += [f"{model} is left out: {reason}" for model, reason in plan.left_out.items()]
    return lines


def _counts(values: Iterable[str]) -> str:
    from collections import Counter

    return ", ".join(f"{n} {name}" for name, n in sorted(Counter(values).items()))


def _expression_lines(plan: Plan) -> list[str]:
    from pathduet.expression.gene_sets import gene_lists
    from pathduet.expression.prepare import read_tables

    tables = read_tables(plan.config["expression"])
    listed = gene_lists(plan.config["subspaces"])
    common = set.intersection(*(set(table.values.index) for table in tables))
    lines = []
    with_slides = {slide.patient_id for slide in plan.slides if not slide.exclude}
    for table in tables:
        patients = set(plan.patients.index[plan.patients["cohort"] == table.cohort])
        sampled = set(table.samples["patient_id"])
        lines.append(
            f"{table.cohort}: {table.values.shape[0]} genes x {table.values.shape[1]} samples ({table.unit}); "
            f"{len(patients & sampled & with_slides)} patients with slides and expression, "
            f"{len((patients & with_slides) - sampled)} slide-only, "
            f"{len((patients & sampled) - with_slides)} expression-only, "
            f"{len(sampled - patients)} samples' patients unknown to the sheet"
        )
        lines += [f"  warning: {warning}" for warning in table.warnings]
    found = (f"{len(common & set(genes))}/{len(genes)} {name}" for name, genes in listed.items())
    lines.append(f"{len(common)} genes in all tables; of the gene lists {', '.join(found)}")
    return lines


def _encoder_lines(plan: Plan) -> list[str]:
    from pathduet.slides.encoders.encoder import load_encoder
    from pathduet.slides.settings import SlideSettings

    settings = SlideSettings.from_mapping(plan.config).encoder
    try:
        encoder = load_encoder(settings)
    except PathDuetError as error:
        return [f"NOT AVAILABLE: {error}"]
    return [f"{encoder.name}, {encoder.dim} numbers a tile, weights {encoder.weights_source}"]


def _slide_lines(slides: Sequence[SlideCheck]) -> list[str]:
    usable = [slide for slide in slides if not slide.reason]
    lines = [f"{len(usable)} of {len(slides)} can be opened"]
    if usable:
        lines.append(f"pixel size from: {_counts(slide.mpp_source for slide in usable)}")
    lines += [f"{s.slide_id}: {s.reason}: {s.message}" for s in slides if s.reason]
    return lines
