"""Train one model of one fold from the artifacts of earlier steps, and write it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pathduet.catalogue import find
from pathduet.cohort.tasks import Task
from pathduet.core.checksums import forget
from pathduet.core.errors import InputError, Problems
from pathduet.core.files import sha256_file, write_tsv
from pathduet.core.hardware import limit_threads, pick_device, require_compiler
from pathduet.losses.class_weights import class_weights
from pathduet.models.method.config import ModelConfig
from pathduet.models.method.patch_tokens import PatchTokens
from pathduet.models.method.student import Student
from pathduet.models.tile_prototypes import TilePrototypes
from pathduet.results import DESCRIPTION, HISTORY, WEIGHTS
from pathduet.training.baseline_objective import BaselineObjective
from pathduet.training.config import TrainingConfig
from pathduet.training.cost import Cost
from pathduet.training.dataset import SlideDataset
from pathduet.training.fold_data import FoldData
from pathduet.training.loggers import logger as open_logger
from pathduet.training.loggers import require_logger
from pathduet.training.loop import fit, learning_rate
from pathduet.training.model_folder import ModelDescription, load_model, save_model
from pathduet.training.networks import ModelSettings
from pathduet.training.objectives import (
    DistilledObjective,
    Objective,
    StudentObjective,
    TeacherObjective,
    TeacherTargets,
    teacher_inputs,
)
from pathduet.training.out_of_fold import inner_data, inner_parts, join_targets, teacher_folder
from pathduet.training.prototype_order import order_prototypes
from pathduet.training.released import ReleasedTeacherObjective, released_learning_rate
from pathduet.training.task_targets import ClassTarget, TaskTarget

#: Settings that a student shares with its teacher: the slides' tokens, the experts and the width of X_R.
SAME_TEACHER = ("tokens", "token_order", "width", "magnifications", "subspaces")
#: Settings in which a distilled student may differ from the student it starts from: those that only a teacher has,
#: and those that change neither the shape nor the meaning of its weights.
_FREE = ("gene_input", "dropout", "expert_rule")
SAME_STUDENT = tuple(f.name for f in fields(ModelConfig) if f.name not in _FREE)
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class ModelToTrain:
    """One model of one task and fold.

    Attributes
    ----------
    task : Task
        Task to predict.
    model : str
        The planned model's name, e.g. ``teacher-no-cgc``.
    fold : int
        Patients of this fold are the test part and are not used.
    settings : ModelSettings
        Network, sizes and optimisation.
    teacher_dir : Path, optional
        The same fold's teacher; needed for a distilled model.
    student_dir : Path, optional
        The same fold's student: the warmed-up network that distillation starts from. Without it, a distilled model starts
        from fresh weights.
    target : TaskTarget, optional
        Classes, survival intervals or moments, where they are not those of this training part.
    record : mapping
        Additions to model.json (how the settings were found), JSON-ready.
    """

    task: Task
    model: str
    fold: int
    settings: ModelSettings
    teacher_dir: Path | None = None
    student_dir: Path | None = None
    target: TaskTarget | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name in progress and errors."""
        return f"{self.task.name} {self.model} fold {self.fold}"


def train_model(
    model: ModelToTrain,
    data: FoldData,
    out_dir: Path,
    *,
    threads: int = 1,
    device: str = "auto",
    logger: str = "none",
) -> None:
    """Train a model on the training part of a fold; write weights.safetensors, model.json, history.tsv and cost.json.

    An interrupted run leaves checkpoint.safetensors in `out_dir` and resumes from it when called again with the
    same inputs; it is removed at the end.

    Parameters
    ----------
    model : ModelToTrain
        Model to train.
    data : FoldData
        Training data.
    out_dir : Path
        Folder of the model.
    threads : int
        Threads of torch.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    logger : {"none", "tensorboard", "mlflow", "wandb"}
        Additional destination of the history (:mod:`pathduet.training.loggers`).

    Raises
    ------
    InputError
        If there is nothing to train on, or files are inconsistent.
    TrainingError
        If the loss stops being finite.
    """
    require_logger(logger)
    limit_threads(threads)
    chosen = torch.device(pick_device(device))
    if model.settings.training.compile:
        require_compiler("training.compile", chosen.type)
    target = model.target or data.target(model.fold)
    dataset, record = _training_set(model, data, target, chosen)
    description = _describe(model, target, dataset)
    key = _run_key(description, record, dataset)
    if _trained_already(out_dir, key):
        return
    network = _fresh_network(model, description, dataset)
    with Cost(chosen, threads) as cost:
        teacher = _learn_from(model, data, description, network, dataset, record, out_dir, threads)
        objective = _objective(model, target, dataset, teacher)
        released = model.settings.network.variant == "released"
        if model.settings.training.compile:
            network.compile()
        history = fit(
            network.to(chosen), objective, dataset, model.settings.training,
            device=chosen, checkpoint=out_dir / CHECKPOINT, key=key,
            label=model.label, schedule=released_learning_rate if released else learning_rate,
            logger=open_logger(logger, out_dir, model.label), items=record["training_part"]["epoch_items"],
        )  # fmt: skip
    shutil.rmtree(out_dir / "teachers", ignore_errors=True)
    cost.write(out_dir, network)
    _write(out_dir, description, network, {**record, "run_key": key}, history)


def _training_set(
    model: ModelToTrain, data: FoldData, target: TaskTarget, device: torch.device
) -> tuple[SlideDataset, dict[str, Any]]:
    """Return the labelled samples of the training part that the network can use, and their entries in model.json."""
    from pathduet import __version__

    settings, network = model.settings, model.settings.network
    expression = data.expression() if "expression" in network.model.learns_from else None
    without_slides = None if network.reads_slides else expression
    training = data.samples(model.fold, target, "train", expression=without_slides)
    labelled = [sample for sample in training if sample.label >= 0]
    usable = labelled
    if expression is not None:
        paired = {s for s in training if expression.row_for(s.patient_id, s.slide_id) is not None}
        if network.needs_expression:
            usable = [s for s in labelled if s in paired]
        if model.teacher_dir is not None:  # a teacher also gives targets for slides without a label
            usable = [s for s in training if s.label >= 0 or s in paired]
    if not any(sample.label >= 0 for sample in usable):
        items = "slides" if network.reads_slides else "slides and patients without any"
        found = f"{len(training)} {items}, {len(labelled)} with a label, {len(usable)} of them usable"
        advice = "check folds, labels and (for models of both) that expression and slides share patients"
        raise InputError.of(f"{model.label}, training part", found, advice)
    if network.has_experts and expression is not None and tuple(expression.genes) != settings.model.subspaces:
        found = f"genes of {', '.join(expression.genes)}, subspaces {', '.join(settings.model.subspaces)}"
        raise InputError.of(model.label, found, "make the fold's expression matrix with these subspaces")
    read = network.magnifications(settings.model)
    room = settings.training.cache_mib
    dataset = SlideDataset(usable, settings.model, expression, room, read, device, data.cache)
    record = {
        "package_version": __version__,
        "training_config": asdict(settings.training),
        "protocol": data.protocol,
        "expression_sha256": sha256_file(data.expression_path)
        if expression and data.expression_path
        else None,
        "training_part": {
            "slides": sum(sample.slide_id != "" for sample in usable),
            "patients": len({sample.patient_id for sample in usable}),
            "patients_without_slides": sum(sample.slide_id == "" for sample in usable),
            "slides_without_label": len(training) - len(labelled),
            "slides_taught_without_label": sum(sample.label < 0 for sample in usable),
            "slides_without_expression": len(labelled) - sum(sample.label >= 0 for sample in usable),
            "slides_paired": sum(row is not None for row in dataset.expression),
            # the same for a student with and without a teacher, so that their numbers of steps are equal
            "epoch_items": len(training) if network.model.role == "distilled" else len(usable),
        },
        **{
            f"{role}_sha256": sha256_file(folder / WEIGHTS)
            for role, folder in (("teacher", model.teacher_dir), ("student", model.student_dir))
            if folder is not None
        },
        **model.record,
    }
    return dataset, record


def _describe(model: ModelToTrain, target: TaskTarget, dataset: SlideDataset) -> ModelDescription:
    choice, config = model.settings.network, model.settings.model
    # a distilled student reads no genes: its teacher does
    genes = dataset.genes if choice.model.role != "distilled" else {}
    if genes:  # a baseline's subspaces are those of its input
        config = replace(config, subspaces=tuple(genes))
    return ModelDescription(
        model.task,
        model.model,
        model.fold,
        config,
        target,
        dataset.encoder(),
        genes,
        choice,
    )


def _fresh_network(model: ModelToTrain, description: ModelDescription, dataset: SlideDataset) -> nn.Module:
    """Return the network with seeded weights, its tokens standardised by the training part."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.settings.training.seed)
        network = description.build()
    start = None
    if model.settings.network.has_experts:
        start = model.settings.model.patch_start if model.student_dir is None else "random"
    start_tokens(network, dataset, start)
    return network


def _learn_from(
    model: ModelToTrain,
    data: FoldData,
    description: ModelDescription,
    network: nn.Module,
    dataset: SlideDataset,
    record: dict[str, Any],
    out_dir: Path,
    threads: int,
) -> TeacherTargets | None:
    """Load the student that a distilled model starts from, and return its teachers' targets; None without a teacher."""
    if model.settings.network.model.role != "distilled":
        return None
    if model.student_dir is not None:
        warm, found, _ = load_model(model.student_dir)
        _check_same_fold(description, found, model.student_dir, "student", SAME_STUDENT)
        network.load_state_dict(warm.state_dict())
    taught = "expression" in model.settings.network.model.learns_from
    if not taught:
        return None
    if model.teacher_dir is None:
        raise ValueError("a distilled model needs a teacher: give teacher_dir")
    targets = _targets(model, data, description, dataset, record, out_dir, threads)
    if model.student_dir is not None and isinstance(network, Student) and network.learns_order:
        paired = [i for i, row in enumerate(dataset.expression) if row is not None]
        batch_size = model.settings.training.batch_size
        evidence = order_prototypes(network.to(dataset.device), dataset, paired, batch_size)
        record["order_evidence"] = evidence
    return targets


def _targets(
    model: ModelToTrain,
    data: FoldData,
    description: ModelDescription,
    dataset: SlideDataset,
    record: dict[str, Any],
    out_dir: Path,
    threads: int,
) -> TeacherTargets:
    """Return outputs of teachers that have not seen the slides; without inner folds, those of the fold's own teacher."""
    assert model.teacher_dir is not None
    training = model.settings.training
    ask = partial(
        teacher_targets,
        description=description,
        dataset=dataset,
        batch_size=training.batch_size,
    )
    labelled = {
        sample.patient_id
        for sample, row in zip(dataset.samples, dataset.expression, strict=True)
        if row is not None and sample.label >= 0
    }
    parts = min(training.inner_folds, len(labelled))
    if parts < 2 or model.settings.network.variant == "released":
        return ask(model.teacher_dir)
    inner = inner_parts(data.labels, model.task, sorted(labelled), parts, training.seed)
    _, found, said = load_model(model.teacher_dir)
    settings = ModelSettings(found.choice, found.config, TrainingConfig(**said["training_config"]))
    answers = []
    for part in range(parts):
        folder = teacher_folder(out_dir, part)
        teacher = ModelToTrain(
            model.task,
            f"{found.model}, inner fold {part} of {parts}",
            model.fold,
            settings,
            target=found.target,
        )
        train_model(
            teacher,
            inner_data(data, model.fold, inner, part),
            folder,
            threads=threads,
            device=str(dataset.device),
        )
        answers.append(ask(folder))
    record["inner_teachers"] = {"folds": parts, "patients": len(inner)}
    return join_targets(answers, dataset, inner)


def _objective(
    model: ModelToTrain,
    target: TaskTarget,
    dataset: SlideDataset,
    teacher: TeacherTargets | None,
) -> Objective:
    network, training = model.settings.network, model.settings.training
    weights: Tensor | None = None
    if training.class_weights and isinstance(target, ClassTarget):
        labels = [dataset.samples[slides[0]].label for slides in dataset.patients]
        weights = class_weights([label for label in labels if label >= 0], target.outputs).to(dataset.device)
    if teacher is not None:
        return DistilledObjective(target, training, weights, teacher)
    if not network.has_experts:
        return BaselineObjective(target, training, weights)
    if network.model.role in ("student", "distilled"):
        return StudentObjective(target, training, weights)
    kind = ReleasedTeacherObjective if network.variant == "released" else TeacherObjective
    return kind(target, training, weights)


def start_tokens(network: nn.Module, dataset: SlideDataset, start: str | None = None) -> None:
    """Set patch tokens' standardisation to a dataset's moments, and prototypes to its tiles' clusters, where a network has them.

    Parameters
    ----------
    network : nn.Module
        Its :class:`~pathduet.models.method.patch_tokens.PatchTokens` and :class:`~pathduet.models.tile_prototypes.TilePrototypes` are in
        module dictionaries by magnification.
    dataset : SlideDataset
        The training part.
    start : str, optional
        ``principal``: the linear maps start at the principal axes of the standardised features; ``random``: unchanged.
        By default, each block's own setting.
    """
    moments = dataset.feature_moments()
    blocks = [
        (m, block)
        for name, block in network.named_modules()
        if isinstance(block, PatchTokens) and (m := name.rpartition(".")[2]) in moments
    ]
    pairs = [block.pairs for _, block in blocks if (start or block.start) == "principal"]
    axes = dataset.feature_axes(moments, max(pairs)) if pairs else {}
    for m, block in blocks:
        block.standardise(*moments[m])
        if (start or block.start) == "principal":
            block.align(axes[m])
    for name, block in network.named_modules():
        if isinstance(block, TilePrototypes):
            block.fit(torch.cat(list(dataset.sampled_features(name.rpartition(".")[2]))))


def _trained_already(out_dir: Path, key: str) -> bool:
    """Whether a folder holds the finished model of this key: one that a killed job had trained as a step to another."""
    try:
        return bool(json.loads((out_dir / DESCRIPTION).read_text(encoding="utf-8")).get("run_key") == key)
    except (OSError, ValueError):
        return False


def _write(
    out_dir: Path,
    description: ModelDescription,
    network: nn.Module,
    record: dict[str, Any],
    history: list[Any],
) -> None:
    import pandas as pd

    write_tsv(out_dir / HISTORY, pd.DataFrame(history))
    save_model(out_dir, description, network, record)
    (out_dir / CHECKPOINT).unlink(missing_ok=True)
    forget([out_dir / CHECKPOINT])


@torch.no_grad()
def teacher_targets(
    teacher_dir: Path,
    *,
    description: ModelDescription,
    dataset: SlideDataset,
    batch_size: int,
) -> TeacherTargets:
    """Return the teacher's outputs for each slide of a dataset that has expression.

    The teacher is frozen and a slide's tokens never change, so it runs once, not in every epoch.
    """
    network, taught, _ = load_model(teacher_dir)
    _check_same_fold(description, taught, teacher_dir, "teacher", SAME_TEACHER)
    if dataset.genes != taught.genes:
        raise InputError.of(f"model {teacher_dir}", "made for other genes", "train the teacher again")
    network.to(dataset.device)
    n, outputs = len(dataset), taught.target.outputs
    width = len(taught.config.subspaces) * taught.config.width
    experts = taught.config.experts
    logits = {m: torch.zeros(n, outputs, device=dataset.device) for m in experts}
    representation = {m: torch.zeros(n, width, device=dataset.device) for m in experts}
    paired = [i for i, row in enumerate(dataset.expression) if row is not None]
    for start in range(0, len(paired), batch_size):
        rows = paired[start : start + batch_size]
        batch = dataset.batch(rows)
        output = network(*teacher_inputs(batch), need_attention=False)
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
        raise InputError.of(f"model {folder}", f"a {found.choice.base}", f"give the fold's {source}")
    problems = Problems()
    if wanted.task.name != found.task.name:
        problems.add(f"model {folder}, task", f"{found.task.name}, not {wanted.task.name}", "train it again")
    for name in ("fold", "target", "encoder"):
        mine, theirs = getattr(wanted, name), getattr(found, name)
        if mine != theirs:
            problems.add(f"model {folder}, {name}", f"{theirs}, not {mine}", "train it again")
    for name in same:
        mine, theirs = getattr(wanted.config, name), getattr(found.config, name)
        if mine != theirs:
            what = f"another model configuration: {name} is {theirs!r}, not {mine!r}"
            problems.add(f"model {folder}", what, "train it again")
    problems.check()


def _run_key(description: ModelDescription, record: dict[str, Any], dataset: SlideDataset) -> str:
    """Return a hash of everything that a checkpoint depends on."""
    from pathduet.core.provenance import settings_hash
    from pathduet.core.source_code import code_version

    rows = [(sample.name, sample.label, sample.event, sample.value) for sample in dataset.samples]
    files = dataset.feature_keys()
    return settings_hash([asdict(description), record, rows, files, code_version("pathduet.training.train")])
