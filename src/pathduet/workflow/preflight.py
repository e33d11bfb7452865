"""A check of everything a run would read, before it starts: better than a stack trace three days later.

:func:`check_inputs` refuses what a job would refuse; `pathduet check` and the start of a run both call it. :func:`preflight`
also checks every slide, and reports what it finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.cohort.sheets import SlideRow, check_own_folder
from pathduet.core.errors import InputError, PathDuetError, Problems, SlideError
from pathduet.core.plural import plural
from pathduet.core.progress import track
from pathduet.features.agreement import FOREIGN, disagreements
from pathduet.slides.opening import STAGE, check_slides
from pathduet.slides.status import StageStatus
from pathduet.workflow.earlier_results import refuse_unrecorded, started_with

if TYPE_CHECKING:
    from pathduet.expression.tables import ExpressionTable
    from pathduet.workflow.plan import Plan


@dataclass
class Preflight:
    """The complete report.

    Attributes
    ----------
    sections : dict of str to list of str
        Heading to lines.
    slides : list of StageStatus
        Empty if slides were not opened.
    problems : Problems
        What must be corrected before a run can start.
    """

    sections: dict[str, list[str]] = field(default_factory=dict)
    slides: list[StageStatus] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)

    @property
    def lost_slides(self) -> list[StageStatus]:
        """Slides that a run would lose (excluded ones are not lost)."""
        return [s for s in self.slides if s.reason not in ("", "excluded")]

    def text(self) -> str:
        """Return the report for a terminal."""
        lines = []
        for heading, body in self.sections.items():
            lines += [heading, *(f"  {line}" for line in body)]
        verdict = "Ready to run."
        if self.problems:
            verdict = "Not ready to run."
        elif self.lost_slides:
            verdict = f"Ready to run, but {plural(len(self.lost_slides), 'slide')} will be lost (see above)."
        return "\n".join([*lines, verdict])


def check_inputs(
    plan: Plan, *, same_environment: bool = True, read_again: bool = True
) -> list[ExpressionTable]:
    """Refuse, with all problems at once, what some job of the run would refuse, perhaps days later.

    Slides are not opened: a bad slide affects only itself.

    Parameters
    ----------
    plan : Plan
    same_environment : bool
        Whether jobs run in this environment: then encoder weights and optional packages are required.
    read_again : bool
        Read expression tables even if the last run was started with the same ones; large ones take seconds.

    Returns
    -------
    list of ExpressionTable
        The expression tables that were read.

    Raises
    ------
    InputError
        With every problem found.
    """
    tables, problems = _input_problems(plan, same_environment, read_again)
    problems.check()
    return tables


def _input_problems(
    plan: Plan, same_environment: bool = True, read_again: bool = True
) -> tuple[list[ExpressionTable], Problems]:
    from pathduet.expression.identifiers import forget_identifiers
    from pathduet.expression.prepare import check_matrices, read_tables

    problems, tables = Problems(), []
    used = [slide for slide in plan.slides if not slide.exclude]
    encodes = any(not slide.foreign for slide in used)
    problems.ask(_check_results, plan)
    if plan.slides and not used:
        advice = "clear `exclude` for some, or remove the sheet"
        problems.add("sheets.slides", f"all slides ({len(plan.slides)}) are excluded", advice)
    problems.ask(check_series, used)
    known = started_with(plan.results.root, "checked").get("expression") == plan.expression_key
    if plan.has_expression and (read_again or not known):
        with problems.collected():
            tables = read_tables(plan.config["expression"])
            check_matrices(tables, plan.patients, plan.fold_table, plan.config)
        forget_identifiers()
    problems.ask(_check_folds, plan, tables)
    problems.ask(_check_network_settings, plan)
    problems.ask(_check_further_files, plan)
    if encodes:
        problems.ask(_check_stain_target, plan)
    if encodes and same_environment:
        problems.ask(_check_encoder, plan)
    if same_environment:
        problems.ask(_check_packages, plan, encodes)
    return tables, problems


def check_series(slides: Iterable[SlideRow]) -> None:
    """Refuse rows that name files of the same DICOM series: each would count as the whole slide."""
    from pathduet.slides.dicom_series import may_be_instance, read_instance

    problems = Problems()
    first: dict[tuple[Path, str], SlideRow] = {}
    for slide in slides:
        instance = read_instance(slide.path) if may_be_instance(slide.path) else None
        if instance is not None and instance.series:
            other = first.setdefault((slide.path.parent, instance.series), slide)
            if other is not slide:
                found = (
                    f"{other.path.name} and {slide.path.name} belong to one DICOM series, which is one slide"
                )
                problems.add(f"slides {other.slide_id} and {slide.slide_id}, path", found, "keep one row")
    problems.check()


def _check_results(plan: Plan) -> None:
    root = plan.results.root
    if set("{}") & set(str(root)):
        raise InputError.of(
            "results", f"{str(root)!r} has braces", "Snakemake treats them as wildcards: rename it"
        )
    there = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise InputError.of("results", f"{there} is a file", "name a folder")
    check_own_folder(plan.slides, root, "results")


def _check_folds(plan: Plan, tables: Sequence[ExpressionTable], lost: Collection[str] = ()) -> None:
    """Refuse folds whose training part leaves a task without intervals, spread or patients to train on.

    `lost` holds the ids of unusable slides.
    """
    from pathduet.cohort.folds import fitted_labels, fold_parts
    from pathduet.cohort.labels import known_labels, task_labels
    from pathduet.cohort.survival_bins import discretize

    problems = Problems()
    folds, protocol = plan.fold_table, plan.config["protocol"]
    with_slides = {s.patient_id for s in plan.slides if not s.exclude and s.slide_id not in lost}
    with_expression = {patient for table in tables for patient in table.samples["patient_id"]}
    with_both = with_slides & with_expression
    train = {
        fold: {p for p, part in fold_parts(folds, fold).items() if part == "train"} for fold in plan.folds
    }
    for task in plan.tasks.values():
        labels = task_labels(plan.patients, task)
        known = set(known_labels(labels).index)
        for fold in plan.folds:
            where = f"task {task.name}, training part of fold {fold}"
            trained = train[fold] & known
            if task.kind == "survival":
                fitted = fitted_labels(labels, folds, fold, protocol)
                with problems.collected(where):
                    discretize(fitted["survival_days"], fitted["event"], task.bins)
            elif (
                task.kind == "regression"
                and fitted_labels(labels, folds, fold, protocol)["value"].nunique() < 2
            ):
                problems.add(where, "no two values that differ", "a regression needs them")
            for needed, those in (("slide", with_slides), ("expression", with_expression)):
                if (plan.has_slides if needed == "slide" else tables) and trained.isdisjoint(those):
                    problems.add(where, f"no patient with a label and {needed}", "check ids and folds")
            if plan.has_slides and tables and trained.isdisjoint(with_both):
                found = "no patient with a label, a slide and expression"
                problems.add(where, found, "check that slides and expression are of the same patients")
    problems.check()


def _check_network_settings(plan: Plan) -> None:
    """Refuse settings that no baseline has or can have; the method's own are checked with the configuration."""
    if not plan.config["comparison"]["settings"]:
        return
    from pathduet.models.network_settings import network_settings

    problems = Problems()
    for name in plan.networks:
        base = plan.catalogue[plan.planned[name].base]
        if base.settings and base.kind == "baseline":
            with problems.collected():
                network_settings(base, plan.training_settings(next(iter(plan.tasks)), name)["network"])
    problems.check()


def _check_further_files(plan: Plan) -> None:
    """Refuse bad inputs that only rules requested by name, or the explanations, would read."""
    from pathduet.cohort.sheets import read_slides
    from pathduet.expression.tables import read_expression

    problems, predict = Problems(), plan.config["predict"]
    for sets in plan.files("explanations.gene_sets"):
        from pathduet.models.baselines.gene_groups import read_gene_groups

        problems.ask(read_gene_groups, sets)
    if predict["slides"]:
        problems.ask(read_slides, predict["slides"])
    if predict["expression"]:
        problems.ask(read_expression, predict["expression"], predict["unit"], "predict", predict["samples"])
    problems.check()


def _check_stain_target(plan: Plan) -> None:
    from pathduet.slides.settings import SlideSettings
    from pathduet.slides.stain.stain_matrix import target_stains

    settings = SlideSettings.from_mapping(plan.config).stain
    if settings.backend == "none":
        return
    try:
        target_stains(settings)
    except PathDuetError as error:
        raise InputError.of(
            "stain.target", str(error), "name an image (PNG, JPEG) with tissue, or `shipped`"
        ) from None


def _check_packages(plan: Plan, encodes: bool) -> None:
    config, problems = plan.config, Problems()
    logger = config["training"]["logger"]
    for key, wanted, package, extra in (
        ("training.logger", logger != "none", logger, logger),
        ("stain.backend", encodes and config["stain"]["backend"] == "staintools", "staintools", "staintools"),
        ("encoder.engine", encodes and config["encoder"]["engine"] == "onnxruntime", "onnxruntime", "onnx"),
        ("expression.hvg_flavor", config["expression"]["hvg_flavor"] == "seurat_v3", "skmisc", "seurat-v3"),
        ("explanations.embedding", config["explanations"]["embedding"] == "umap", "umap", "umap"),
    ):
        if wanted and find_spec(package) is None:
            advice = f"pip install 'pathduet[{extra}]', or change it"
            problems.add(key, f"the package {package} is not installed", advice)
    problems.check()


def _check_encoder(plan: Plan) -> None:
    from pathduet.slides.encoders.weights import EncoderUnavailable, find_weights
    from pathduet.slides.settings import SlideSettings

    settings = SlideSettings.from_mapping(plan.config).encoder
    try:
        find_weights(settings)
    except EncoderUnavailable as error:
        raise InputError.of(
            f"encoder {settings.name}", f"not available: {error}", "see `pathduet encoders`"
        ) from None


def preflight(value: Mapping[str, Any], *, open_slides: bool = True) -> Preflight:
    """Check configuration, sheets, folds, expression tables and gene lists, and open every slide.

    Parameters
    ----------
    value : mapping
        The configuration as read.
    open_slides : bool
        Open each slide for its pixel size and levels.

    Returns
    -------
    Preflight
        With the problems for which a run would refuse to start.

    Raises
    ------
    InputError
        If the configuration or the sheets cannot be read.
    """
    from pathduet.core.config import is_demo
    from pathduet.slides.settings import SlideSettings
    from pathduet.workflow import demo
    from pathduet.workflow.plan import Plan

    report = Preflight()
    if is_demo(value):
        report.sections["Demo"] = [demo.prepare()]
    plan = Plan.from_config(value)
    tables, report.problems = _input_problems(plan)
    report.problems.ask(refuse_unrecorded, plan.results)
    report.sections["Cohorts"] = _cohort_lines(plan)
    report.sections["Labels (internal cohorts)"] = _label_lines(plan)
    if tables:
        report.sections["Expression"] = _expression_lines(plan, tables)
    raw = [slide for slide in plan.slides if not slide.foreign] if open_slides and not plan.drawn_from else []
    given = [slide for slide in plan.slides if slide.foreign]
    found = check_slides(raw, SlideSettings.from_mapping(plan.config))
    # the encoder is loaded here, while another process opens slides
    with ThreadPoolExecutor(1) as beside, closing(found):
        encodes = plan.encoded_batches and not report.problems
        encoder = beside.submit(_encoder_lines, plan) if encodes else None
        for status in track(found, len(raw), "opening slides", "slides") if raw else ():
            report.slides.append(status)
            if encoder and encoder.done():
                encoder.result()  # an encoder that cannot be loaded ends the check
    if encoder:
        report.sections["Encoder"] = encoder.result()
    if raw:
        report.sections["Slides"] = _slide_lines(report.slides)
    if open_slides and given:
        checked, said = check_features(given, plan.foreign_settings()["layout"])
        report.slides += checked
        report.sections["Features of another tool"] = _feature_lines(checked)
        report.problems += disagreements(said)
    if report.lost_slides:
        folds = Problems()
        folds.ask(_check_folds, plan, tables, {slide.slide_id for slide in report.lost_slides})
        report.problems += (problem for problem in folds if problem not in report.problems)
    return report


def check_features(
    slides: Sequence[SlideRow], layout: str | None
) -> tuple[list[StageStatus], dict[str, dict[str, str | int | float]]]:
    """Open features from another tool, without reading all of them.

    Returns
    -------
    checks : list of StageStatus
        Tiles, width and magnification of each slide, and what is missing.
    said : dict
        Usable slides: id to width, encoder and magnification.
    """
    from pathduet.slides.foreign_features import look_at

    checks: list[StageStatus] = []
    said: dict[str, dict[str, str | int | float]] = {}
    for slide in track(slides, len(slides), "opening features", "slides"):
        if slide.exclude:
            checks.append(StageStatus(slide.slide_id, STAGE, "excluded", "excluded", slide.exclude))
            continue
        try:
            found = {m: look_at(slide.slide_id, m, path, layout) for m, path in sorted(slide.foreign.items())}
        except SlideError as error:
            checks.append(StageStatus(slide.slide_id, STAGE, "failed", error.reason, error.found))
            continue
        parts = []
        for m, tiles in found.items():
            at = (
                f"{tiles.mpp:.3g} um/px, read as {m}"
                if tiles.mpp
                else f"magnification not stated, read as {m}"
            )
            parts.append(
                f"{plural(tiles.n, 'tile')} of {plural(tiles.width, 'number')}, {tiles.layout}, {tiles.encoder}, {at}"
            )
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
        checks.append(StageStatus(slide.slide_id, STAGE, "ok", message="; ".join([*parts, *missing])))
    return checks, said


def _cohort_lines(plan: Plan) -> list[str]:
    lines = []
    for cohort in [*plan.config["cohorts"]["internal"], *plan.external_cohorts]:
        patients = plan.patients[plan.patients["cohort"] == cohort]
        slides = [slide for slide in plan.slides if slide.cohort == cohort]
        without = len(set(patients.index) - {slide.patient_id for slide in slides})
        kind = "external" if cohort in plan.external_cohorts else "internal"
        line = f"{cohort} ({kind}): {plural(len(patients), 'patient')}, {plural(len(slides), 'slide')}"
        line += (
            ", no expression table" if plan.has_expression and cohort not in plan.expression_cohorts else ""
        )
        lines.append(line + (f", {plural(without, 'patient')} without a slide" if slides and without else ""))
    files = {s.slide_id: (s.path, s.scene, s.mask) for s in plan.slides if s.has_raw and not s.exclude}
    counted = Counter(files.values())
    if twice := [slide for slide, file in files.items() if counted[file] > 1]:
        lines.append(f"warning: slides that share a file with another: {_shown(twice)}")
    return [*lines, *site_warnings(plan)]


def site_warnings(plan: Plan) -> list[str]:
    """Return at most one warning that a model may recognise test patients by their hospital."""
    if not (sites := plan.divided_sites):
        return []
    return [
        f"warning: patients of {plural(len(sites), 'site')} ({_shown(sites)}) are on both sides of folds: a model may recognise the hospital. "
        "Set split.site_preserving: true"
    ]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _label_lines(plan: Plan) -> list[str]:
    from pathduet.cohort.folds import fitted_labels
    from pathduet.cohort.labels import known_labels, label_columns, task_labels

    internal = plan.patients[plan.patients["cohort"].isin(plan.config["cohorts"]["internal"])]
    lines = []
    for task in plan.tasks.values():
        labels = task_labels(internal, task)
        known = known_labels(labels)
        if task.kind == "survival":
            line = f"{plural(len(known), 'patient')}, {plural(int(known['event'].sum()), 'event')}"
        elif task.kind == "regression":
            low, middle, high = known["value"].quantile([0, 0.5, 1])
            line = f"{plural(len(known), 'patient')}, {low:g} to {high:g}, median {middle:g}"
        else:
            counts = known["label"].value_counts()
            line = ", ".join(f"{name} ({counts.get(name, 0)})" for name in task.classes)
        missing = labels.loc[labels["reason"] != "", "reason"]
        columns = ", ".join(column for column in label_columns(task) if column in plan.patients.columns)
        line = f"{task.name} ({task.kind}; {columns}): {line}"
        lines.append(line + (f"; without label: {_counts(missing)}" if len(missing) else ""))
        for fold in plan.folds if task.kind == "classification" else ():
            learned = set(fitted_labels(labels, plan.fold_table, fold, "strict")["label"])
            if absent := [name for name in task.classes if name not in learned]:
                lines.append(f"  warning: fold {fold} is trained without {', '.join(absent)}")
    for reason in dict.fromkeys(plan.left_out.values()):
        models = [model for model, why in plan.left_out.items() if why == reason]
        lines.append(f"left out ({reason}): {', '.join(models)}")
    covariates = [name for name, kind in plan.config["covariates"].items() if kind is not None]
    if absent := [name for name in covariates if name not in plan.patients.columns]:
        lines.append(f"covariates without a column in the sheet: {', '.join(absent)}")
    return lines


def _counts(values: Iterable[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(Counter(values).items()))


def _expression_lines(plan: Plan, tables: Sequence[ExpressionTable]) -> list[str]:
    from pathduet.expression.gene_sets import gene_lists

    listed = gene_lists(plan.config["subspaces"])
    common = set.intersection(*(set(table.values.index) for table in tables))
    lines = []
    with_slides = {slide.patient_id for slide in plan.slides if not slide.exclude}
    for table in tables:
        patients = set(plan.patients.index[plan.patients["cohort"] == table.cohort])
        sampled = set(table.samples["patient_id"])
        shape = f"{plural(table.values.shape[0], 'gene')} x {plural(table.values.shape[1], 'sample')}"
        parts = (
            (patients & sampled & with_slides, "with slides and expression"),
            ((patients & with_slides) - sampled, "with slides only"),
            ((patients & sampled) - with_slides, "with expression only"),
            (sampled - patients, "with samples but no row in the sheet"),
        )
        counts = [f"{plural(len(part), 'patient')} {what}" for part, what in parts if part]
        lines.append(f"{table.cohort}: {shape} ({table.unit}); {', '.join(counts)}")
        lines += [f"  warning: {warning}" for warning in table.warnings]
        used = table.samples[table.samples["patient_id"].isin(patients)]
        counted = Counter(zip(used["patient_id"], used["slide_id"]))
        if several := sorted({patient for (patient, _), n in counted.items() if n > 1}):
            lines.append(f"  warning: several samples of a patient are averaged: {_shown(several)}")
        elsewhere = sorted(set(used["slide_id"]) - {"", *(slide.slide_id for slide in plan.slides)})
        if plan.has_slides and elsewhere:
            lines.append(f"  warning: samples of slides that are not in the sheet: {_shown(elsewhere)}")
    found = (f"{len(common & set(genes))}/{len(genes)} {name}" for name, genes in listed.items())
    lines.append(f"{plural(len(common), 'gene')} in all tables; of the gene lists {', '.join(found)}")
    return lines


def _encoder_lines(plan: Plan) -> list[str]:
    from pathduet.slides.encoders.encoder import load_encoder
    from pathduet.slides.settings import SlideSettings

    settings = SlideSettings.from_mapping(plan.config).encoder
    # `auto` would also export the network, if possible: half a second without new information
    encoder = load_encoder(replace(settings, engine="torch") if settings.engine == "auto" else settings)
    return [f"{encoder.name}, {encoder.dim} numbers per tile, weights {encoder.weights_source}"]


def _feature_lines(slides: Sequence[StageStatus]) -> list[str]:
    """Return the first usable slides, and every one that is not."""
    usable = [slide for slide in slides if not slide.reason]
    lines = [f"{len(usable)} of {len(slides)} can be read"]
    lines += [f"{slide.slide_id}: {slide.message}" for slide in usable[:5]]
    lines += [f"... and {len(usable) - 5} more"] if len(usable) > 5 else []
    return [*lines, *(f"{s.slide_id}: {s.reason}: {s.message}" for s in slides if s.reason)]


def _slide_lines(slides: Sequence[StageStatus]) -> list[str]:
    usable = [slide for slide in slides if not slide.reason]
    lines = [f"{len(usable)} of {len(slides)} can be opened"]
    if usable:
        lines.append(f"pixel size from: {_counts(slide.mpp_source for slide in usable)}")
    lines += [f"{s.slide_id}: {s.reason}: {s.message}" for s in slides if s.reason]
    return lines
