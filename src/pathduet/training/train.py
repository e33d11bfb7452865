"""Train one model of one fold from the artifacts of earlier steps, and write it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pathduet.catalogue import find
from pathduet.core.errors import InputError, Problem
from pathduet.core.files import sha256_file, write_tsv
from pathduet.core.hardware import limit_threads, pick_device
from pathduet.models.method.config import MAGNIFICATIONS, ModelConfig
from pathduet.models.method.patch_tokens import PatchTokens
from pathduet.models.method.student import Student
from pathduet.training.baseline_objective import BaselineObjective
from pathduet.training.config import TrainingConfig, check_task
from pathduet.training.cost import Cost
from pathduet.training.dataset import Case, SlideDataset
from pathduet.training.fold_slides import fold_cases, fold_outcome
from pathduet.training.loop import fit, learning_rate
from pathduet.training.model_folder import WEIGHTS, ModelDescription, load_model, save_model
from pathduet.training.networks import NetworkChoice, choose
from pathduet.training.objectives import (
    DistilledObjective,
    Objective,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
)
from pathduet.training.outcomes import ClassOutcome, Outcome, class_weights
from pathduet.training.prototype_order import orient
from pathduet.training.released import ReleasedTeacherObjective, released_learning_rate
from pathduet.training.tensorboard import require_tensorboard

if TYPE_CHECKING:
    import pandas as pd

#: What a student shares with its teacher: the slides' tokens, the experts and the width of X_R.
SAME_TEACHER = ("tokens", "token_order", "width", "magnifications")
#: What a distilled student shares with the student it starts from: all but what only a teacher has, and what changes
#: neither the shape nor the meaning of its weights.
_FREE = ("gene_input", "dropout", "expert_rule")
SAME_STUDENT = tuple(f.name for f in fields(ModelConfig) if f.name not in _FREE)
HISTORY, CHECKPOINT = "history.tsv", "checkpoint.safetensors"


def train_model(
    task: str,
    model: str,
    fold: int,
    *,
    slides: pd.DataFrame,
    labels: pd.DataFrame,
    folds: pd.DataFrame,
    expression_path: Path,
    model_config: ModelConfig,
    training_config: TrainingConfig,
    out_dir: Path,
    teacher_dir: Path | None = None,
    student_dir: Path | None = None,
    protocol: str = "strict",
    survival_bins: int = 4,
    threads: int = 1,
    device: str = "auto",
    tensorboard: bool = False,
    network: NetworkChoice | None = None,
    record: Mapping[str, Any] | None = None,
    outcome: Outcome | None = None,
) -> None:
    """Train a model on the training part of a fold; write weights.safetensors, model.json, history.tsv and cost.json.

    An interrupted run leaves checkpoint.safetensors in `out_dir` and goes on from it when called again with the
    same inputs; it is removed at the end.

    Parameters
    ----------
    task, model : str
        ``diagnosis``, ``grading`` or ``survival``; ``teacher``, ``student``, ``distilled``, or any name with `network`.
    fold : int
        Patients of this fold are the test part and are not looked at.
    slides : DataFrame
        Slides that have features: slide_id, patient_id, cohort, features (path of features.h5).
    labels : DataFrame
        From :func:`pathduet.cohort.labels.task_labels`, indexed by patient_id.
    folds : DataFrame
        Columns patient_id and fold.
    expression_path : Path
        The fold's .h5ad. Who learns from slides alone does not look at it.
    model_config, training_config
        Sizes and optimisation.
    out_dir : Path
        Folder of the model.
    teacher_dir : Path, optional
        The same fold's teacher; needed for ``distilled``.
    student_dir : Path, optional
        The same fold's student: the warmed-up network that distillation starts from. Without it, ``distilled`` starts
        from fresh weights.
    protocol : str
        ``strict``: survival intervals from the training part; ``paper``: from all patients of the folds.
    survival_bins : int
        Number of survival intervals.
    threads : int
        Threads of torch.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    tensorboard : bool
        Also write the history as TensorBoard scalars into `out_dir`/tensorboard.
    network : NetworkChoice, optional
        Which network it is; needed where `model` is none of the method's three.
    record : mapping, optional
        More for model.json (how the settings were found), JSON-ready.
    outcome : Outcome, optional
        Classes or survival intervals, where they are not those of this training part.

    Raises
    ------
    InputError
        If there is nothing to train on, or files do not belong together.
    TrainingError
        If the loss stops being finite.
    """

    check_task(task)
    choice = network or choose(model)
    if tensorboard:
        require_tensorboard()
    limit_threads(threads)
    chosen = torch.device(pick_device(device))
    label = f"{task} {model} fold {fold}"
    outcome = outcome or fold_outcome(task, labels, folds, fold, protocol=protocol, bins=survival_bins)
    cases = [case for case in fold_cases(slides, labels, folds, fold, outcome) if case.part == "train"]
    labelled = [case for case in cases if case.label >= 0]
    expression = None
    if "expression" in choice.model.learns_from:
        from pathduet.expression.fold_matrix import load

        expression = load(expression_path)
    read = magnifications_read(choice, model_config)
    dataset = SlideDataset(labelled, model_config, expression, training_config.cache_mib, read)
    if choice.needs_expression:
        paired = [case for case, row in zip(labelled, dataset.expression, strict=True) if row is not None]
        dataset = SlideDataset(paired, model_config, expression, training_config.cache_mib, read)
    if not len(dataset):
        found = f"{len(cases)} slides, {len(labelled)} with a label, {len(dataset)} of them usable"
        advice = "check folds, labels and (for models of both) that expression and slides share patients"
        raise InputError([Problem(f"{label}, training part", found, advice)])
    genes: tuple[Sequence[str], Sequence[str]] = ((), ())
    if expression is not None and choice.model.role != "distilled":
        genes = (expression.tumor_genes, expression.tme_genes)
    description = ModelDescription(
        task, model, fold, model_config, outcome, dataset.encoder(), tuple(genes[0]), tuple(genes[1]), choice
    )
    facts = _facts(
        dataset, training_config, protocol, (cases, labelled), expression_path if expression else None
    )
    facts |= record or {}

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training_config.seed)
        built = description.build()
    start = None
    if choice.has_experts:
        principal = model_config.patch_start == "principal" and student_dir is None
        start = "principal" if principal else "random"
    start_tokens(built, dataset, start)
    weights = None
    if training_config.class_weights and isinstance(outcome, ClassOutcome):
        weights = class_weights([case.label for case in dataset.cases], outcome.outputs).to(chosen)
    objective: Objective
    released = choice.variant == "released"
    if not choice.has_experts:
        objective = BaselineObjective(outcome, training_config, weights)
    elif choice.model.role == "teacher":
        kind = ReleasedTeacherObjective if released else TeacherObjective
        objective = kind(outcome, training_config, weights)
    elif choice.model.role == "student":
        objective = StudentObjective(outcome, training_config, weights)
    else:
        if teacher_dir is None:
            raise ValueError("a distilled model needs a teacher: give teacher_dir")
        facts["teacher_sha256"] = sha256_file(teacher_dir / WEIGHTS)
        targets = teacher_targets(teacher_dir, description, dataset, training_config.batch_size, chosen)
        if student_dir is not None:
            facts["student_sha256"] = sha256_file(student_dir / WEIGHTS)
            warm, warm_description, _ = load_model(student_dir)
            _check_same_fold(description, warm_description, student_dir, "student", SAME_STUDENT)
            built.load_state_dict(warm.state_dict())
            if isinstance(built, Student) and built.learns_order:
                taught = [i for i, row in enumerate(dataset.expression) if row is not None]
                facts["order_evidence"] = orient(
                    built.to(chosen), dataset, taught, training_config.batch_size, chosen
                )
        objective = DistilledObjective(outcome, training_config, weights, targets)
    key = _run_key(description, facts, dataset.cases)
    with Cost(chosen, threads) as cost:
        history = fit(
            built.to(chosen), objective, dataset, training_config,
            device=chosen, checkpoint=out_dir / CHECKPOINT, key=key, label=label,
            schedule=released_learning_rate if released else learning_rate,
            scalars=out_dir / "tensorboard" if tensorboard else None,
        )  # fmt: skip
    _write(out_dir, description, built, facts, history)
    cost.write(out_dir, built)


def magnifications_read(choice: NetworkChoice, config: ModelConfig) -> tuple[str, ...]:
    """Return the magnifications whose features a network needs: none if it reads no slides."""
    if "slides" not in choice.model.learns_from:
        return ()
    return (
        config.experts if choice.has_experts else tuple(choice.settings.get("magnifications", MAGNIFICATIONS))
    )


def start_tokens(network: nn.Module, dataset: SlideDataset, start: str | None = None) -> None:
    """Set the patch tokens' standardisation to a dataset's moments, wherever a network has patch tokens.

    Parameters
    ----------
    network : nn.Module
        Its :class:`~pathduet.models.method.patch_tokens.PatchTokens` stand in module dictionaries by magnification.
    dataset : SlideDataset
        The training part.
    start : str, optional
        ``principal``: the linear maps start at the principal axes of the standardised features; ``random``: as they are.
        By default each block says so itself.
    """
    moments = dataset.feature_moments()
    blocks = [
        (m, block)
        for name, block in network.named_modules()
        if isinstance(block, PatchTokens) and (m := name.rpartition(".")[2]) in moments
    ]
    aligned = [m for m, block in blocks if (start or block.start) == "principal"]
    axes = dataset.feature_axes(moments) if aligned else {}
    for m, block in blocks:
        block.standardise(*moments[m])
        if (start or block.start) == "principal":
            block.align(axes[m])


def _write(
    out_dir: Path,
    description: ModelDescription,
    network: nn.Module,
    facts: dict[str, Any],
    history: list[Any],
) -> None:
    import pandas as pd

    write_tsv(out_dir / HISTORY, pd.DataFrame(history))
    save_model(out_dir, description, network, facts)
    (out_dir / CHECKPOINT).unlink(missing_ok=True)


@torch.no_grad()
def teacher_targets(
    teacher_dir: Path,
    description: ModelDescription,
    dataset: SlideDataset,
    batch_size: int,
    device: torch.device,
) -> TeacherTargets:
    """Return what the teacher says about each slide of a dataset that has expression.

    The teacher is frozen and a slide's tokens never change, so it is asked once, not in every epoch.
    """
    network, taught, _ = load_model(teacher_dir)
    _check_same_fold(description, taught, teacher_dir, "teacher", SAME_TEACHER)
    if dataset.genes != (len(taught.tumor_genes), len(taught.tme_genes)):
        raise InputError([Problem(f"model {teacher_dir}", "made for other genes", "train the teacher again")])
    network.to(device)
    n, width, outputs = len(dataset), 2 * taught.config.width, taught.outcome.outputs
    experts = taught.config.experts
    logits = {m: torch.zeros(n, outputs, device=device) for m in experts}
    representation = {m: torch.zeros(n, width, device=device) for m in experts}
    paired = [i for i, row in enumerate(dataset.expression) if row is not None]
    for start in range(0, len(paired), batch_size):
        rows = paired[start : start + batch_size]
        batch = dataset.batch(rows).to(device)
        output = network(
            batch.patches.get("10x"), batch.patches.get("20x"), batch.tumor, batch.tme, need_attention=False
        )
        for m in experts:
            logits[m][rows] = output.logits[m]
            representation[m][rows] = output.representation[m]
    return TeacherTargets(logits, representation)


def _check_same_fold(
    wanted: ModelDescription, found: ModelDescription, folder: Path, role: str, same: Sequence[str]
) -> None:
    """Refuse another model, or one of another task or fold (it may have seen the test part) or other features.

    `role` is ``teacher`` or ``student``; `same` names the fields of the model configuration that must agree.
    """
    (source,) = (name for name in wanted.choice.model.trained_after if find(name).role == role)
    if found.choice.base != source:
        raise InputError([Problem(f"model {folder}", f"a {found.choice.base}", f"give the fold's {source}")])
    problems = []
    for name in ("task", "fold", "outcome", "encoder"):
        mine, theirs = getattr(wanted, name), getattr(found, name)
        if mine != theirs:
            problems.append(Problem(f"model {folder}, {name}", f"{theirs}, not {mine}", "train it again"))
    for name in same:
        mine, theirs = getattr(wanted.config, name), getattr(found.config, name)
        if mine != theirs:
            what = f"another model configuration: {name} is {theirs!r}, not {mine!r}"
            problems.append(Problem(f"model {folder}", what, "train it again"))
    if problems:
        raise InputError(problems)


def _facts(
    dataset: SlideDataset,
    config: TrainingConfig,
    protocol: str,
    considered: tuple[Sequence[Case], Sequence[Case]],
    expression_path: Path | None,
) -> dict[str, Any]:
    from pathduet import __version__

    cases, labelled = considered
    return {
        "package_version": __version__,
        "training_config": asdict(config),
        "protocol": protocol,
        "expression_sha256": sha256_file(expression_path) if expression_path else None,
        "training_part": {
            "slides": len(dataset),
            "patients": len({case.patient_id for case in dataset.cases}),
            "slides_without_label": len(cases) - len(labelled),
            "slides_without_expression": len(labelled) - len(dataset),
            "slides_paired": sum(row is not None for row in dataset.expression),
        },
    }


def _run_key(description: ModelDescription, facts: dict[str, Any], cases: Sequence[Case]) -> str:
    """Return a hash of everything that a checkpoint depends on."""
    import h5py

    from pathduet.core.provenance import settings_hash
    from pathduet.core.source_code import code_version

    files = []
    for case in cases:
        with h5py.File(case.features, "r") as file:
            files.append(str(file.attrs.get("key", "")))
    rows = [(case.slide_id, case.label, case.event) for case in cases]
    return settings_hash([asdict(description), facts, rows, files, code_version("pathduet.training.train")])
