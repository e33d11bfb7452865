"""Predictions of a trained model, slide by slide or patient by patient, with the representations they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pathduet.core.errors import InputError, Problems
from pathduet.core.files import atomic_path
from pathduet.core.hardware import limit_threads, pick_device
from pathduet.core.progress import track
from pathduet.features.agreement import compared
from pathduet.losses.survival import risk_from_hazards
from pathduet.models.magnification_experts import answers_of
from pathduet.models.method.config import MAGNIFICATIONS
from pathduet.models.method.experts import combine_hazards, combine_probabilities
from pathduet.models.method.student import Student
from pathduet.models.method.teacher import Teacher
from pathduet.training.dataset import CPU, Batch, ExpressionSource, FeatureCache, SlideDataset, SlideSample
from pathduet.training.fold_data import FoldData
from pathduet.training.model_folder import ModelDescription, load_model
from pathduet.training.objectives import student_inputs, teacher_inputs
from pathduet.training.own_network import OwnNetwork
from pathduet.training.task_targets import ClassTarget, RegressionTarget, TaskTarget

if TYPE_CHECKING:
    import pandas as pd


class Predictions(NamedTuple):
    """Result of :func:`predict_model`.

    Attributes
    ----------
    table : DataFrame
        One row a slide, in the order of slide ids: slide_id, patient_id, cohort, part, fold; then for
        classification label, predicted, expert (``10x`` or ``20x``, the more confident one), p_<class>, and the
        experts' own p10_<class>, p20_<class> (or those of the only expert); for survival survival_days, event,
        bin (from 0), risk (higher = the event comes earlier), h_1 ... h_K (hazards), risk_10x, risk_20x; for regression value,
        prediction, prediction_10x, prediction_20x in the label's unit. Unknown truth is missing. Models that are not the
        method's have no experts. For models that read expression alone, patients without slides follow with an empty
        slide_id, in the order of patient ids.
    representations : dict
        (rows, K c) float32 by magnification: X_R, the subspaces in their order; rows as in the table. Models that are not
        the method's have one matrix, ``representation``: the input of their last layer.
    subspaces : tuple of str
        Subspaces concatenated in X_R; empty for models that are not the method's.
    """

    table: pd.DataFrame
    representations: dict[str, NDArray[np.float32]]
    subspaces: tuple[str, ...] = ()


def predict_model(
    model_dir: Path,
    data: FoldData,
    part: str | Sequence[str] = "test",
    *,
    batch_size: int = 8,
    threads: int = 1,
    device: str = "auto",
    own: OwnNetwork | None = None,
) -> Predictions:
    """Predict the slides of a part of the model's fold.

    Parameters
    ----------
    model_dir : Path
        Folder written by :func:`pathduet.training.train.train_model`.
    data : FoldData
        As for training. A model that predicts from expression predicts only slides with expression; one that reads
        nothing else also predicts patients without slides.
    part : str or sequence of str
        ``test``, ``train``, ``external`` (patients outside the cross-validation), or several of them.
    batch_size : int
        Slides at a time.
    threads, device
        As for training.
    own : OwnNetwork, optional
        As for :func:`pathduet.training.model_folder.load_model`.

    Raises
    ------
    InputError
        If features or genes are not those the model was trained on.
    """
    limit_threads(threads)
    chosen = torch.device(pick_device(device))
    network, description, _ = load_model(model_dir, own)
    where = f"model {model_dir}"
    return predict_part(network.to(chosen), description, data, part, batch_size=batch_size, where=where)


def predict_part(
    network: nn.Module,
    description: ModelDescription,
    data: FoldData,
    part: str | Sequence[str],
    *,
    batch_size: int = 8,
    where: str = "model",
) -> Predictions:
    """Predict the slides of a part of the fold as :func:`predict_model` does, with a network that :func:`predict_samples` could take."""
    parts = (part,) if isinstance(part, str) else part
    choice = description.choice
    expression = data.expression() if choice.needs_expression else None
    without_slides = None if choice.reads_slides else expression
    samples = data.samples(description.fold, description.target, *parts, expression=without_slides)
    if expression is not None:
        # the order must match, too: networks concatenate the subspaces' genes
        if [(s, tuple(genes)) for s, genes in expression.genes.items()] != list(description.genes.items()):
            found = "trained on other genes than the fold's expression"
            raise InputError.of(where, found, "train it again")
        samples = [s for s in samples if expression.row_for(s.patient_id, s.slide_id) is not None]
    device = next(network.parameters()).device
    return predict_samples(
        network, description, samples, data.labels,
        expression=expression, batch_size=batch_size, device=device, where=where, cache=data.cache,
    )  # fmt: skip


@torch.no_grad()
def predict_samples(
    network: nn.Module,
    description: ModelDescription,
    samples: Sequence[SlideSample],
    labels: pd.DataFrame,
    *,
    expression: ExpressionSource | None = None,
    batch_size: int = 8,
    device: torch.device = CPU,
    where: str = "model",
    show_progress: bool = True,
    cache: FeatureCache | None = None,
) -> Predictions:
    """Predict given slides with a loaded network.

    Parameters
    ----------
    network : Module
        In evaluation mode.
    description : ModelDescription
        Description of the network.
    samples : sequence of SlideSample
        The slides; for a teacher only those with expression.
    labels : DataFrame
        Truth for the predictions table, indexed by patient_id; may have no rows.
    expression : ExpressionSource, optional
        z-scores of the teacher's genes in token order.
    batch_size : int
        Slides at a time.
    device : torch.device
        Device of the network.
    where : str
        Name of the model in errors.
    show_progress : bool
        Whether to show the progress.
    cache : FeatureCache, optional
        Features that were already read.
    """
    choice, experts = description.choice, description.config.experts
    read = choice.magnifications(description.config)
    dataset = SlideDataset(samples, description.config, expression, 0, read, device, cache)
    check_features(dataset, description, where)
    names, seen = (experts, experts) if choice.has_experts else (("",), ("representation",))
    logits: dict[str, list[torch.Tensor]] = {m: [] for m in names}
    representations: dict[str, list[torch.Tensor]] = {m: [] for m in seen}
    starts = range(0, len(dataset), batch_size)
    label = f"predicting {description.task.name} {description.model}"
    for start in track(starts, len(starts), label, "batches") if show_progress else starts:
        batch = dataset.batch(range(start, min(start + batch_size, len(dataset))))
        said_of_both = _answer(network, batch, description.target)
        for collected, said in zip((logits, representations), said_of_both, strict=True):
            for name, value in said.items():
                collected[name].append(value.cpu())
    subspaces = description.config.subspaces if choice.has_experts else ()
    width = len(subspaces) * description.config.width
    table = _table(
        samples, labels, description, {m: _stack(x, description.target.outputs) for m, x in logits.items()}
    )
    return Predictions(table, {m: _stack(x, width).numpy() for m, x in representations.items()}, subspaces)


def _answer(
    network: nn.Module, batch: Batch, target: TaskTarget
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return logits and representations: of teacher and student by magnification; of other experts, the averaged logits."""
    if isinstance(network, Teacher):
        output: Any = network(*teacher_inputs(batch), need_attention=False)
    elif isinstance(network, Student):
        output = network(*student_inputs(batch))
    else:
        answers = list(answers_of(network(batch)).values())
        seen = torch.cat([answer.representation.float() for answer in answers], dim=1)
        if len(answers) == 1:
            return {"": answers[0].logits.float()}, {"representation": seen}
        return {"": target.averaged([answer.logits for answer in answers])}, {"representation": seen}
    return tuple({m: x.float() for m, x in said.items()} for said in (output.logits, output.representation))  # type: ignore[return-value]


def _table(
    samples: Sequence[SlideSample],
    labels: pd.DataFrame,
    description: ModelDescription,
    logits: dict[str, torch.Tensor],
) -> pd.DataFrame:
    """Return the predictions table, see :class:`Predictions`."""
    import pandas as pd

    columns: dict[str, Any] = {
        "slide_id": [sample.slide_id for sample in samples],
        "patient_id": [sample.patient_id for sample in samples],
        "cohort": [sample.cohort for sample in samples],
        "part": [sample.part for sample in samples],
        "fold": [description.fold] * len(samples),
    }
    truth = labels.reindex([sample.patient_id for sample in samples])
    target = description.target
    if isinstance(target, ClassTarget):
        columns |= _class_columns(logits, target, description.config.expert_rule, truth)
    elif isinstance(target, RegressionTarget):
        columns |= _regression_columns(logits, target, truth)
    else:
        bins = [sample.label if sample.label >= 0 else None for sample in samples]
        columns |= _survival_columns(logits, truth, pd.array(bins, dtype="Int64"))
    return pd.DataFrame(columns)


def _stack(rows: list[torch.Tensor], width: int) -> torch.Tensor:
    return torch.cat(rows) if rows else torch.zeros(0, width)


def _class_columns(
    logits: dict[str, torch.Tensor], target: ClassTarget, expert_rule: str, truth: pd.DataFrame
) -> dict[str, Any]:
    # float64: the table's probabilities then add up to 1 to the last printed digit
    wide = {m: x.double() for m, x in logits.items()}
    more: dict[str, list[str]] = {}
    single: dict[str, torch.Tensor] = {}
    if "" in wide:
        probability = wide[""].softmax(dim=1)
    else:
        probability, expert, single = combine_probabilities(wide, expert_rule)
        more = {"expert": [MAGNIFICATIONS[i] for i in expert.tolist()]}
    predicted = [target.classes[i] for i in probability.argmax(dim=1).tolist()]
    columns: dict[str, Any] = {"label": truth["label"].to_numpy(), "predicted": predicted, **more}
    tables = {"p": probability} | {f"p{m.removesuffix('x')}": own for m, own in single.items()}
    for prefix, table in tables.items():
        columns |= {f"{prefix}_{name}": table[:, k].numpy() for k, name in enumerate(target.classes)}
    return columns


def _survival_columns(logits: dict[str, torch.Tensor], truth: pd.DataFrame, bins: Any) -> dict[str, Any]:
    single: dict[str, torch.Tensor] = {}
    if "" in logits:
        hazards = torch.sigmoid(logits[""].double())
    else:
        hazards, single = combine_hazards({m: x.double() for m, x in logits.items()})
    columns: dict[str, Any] = {
        "survival_days": truth["survival_days"].to_numpy(),
        "event": truth["event"].to_numpy(),
        "bin": bins,
        "risk": risk_from_hazards(hazards).numpy(),
    }
    columns |= {f"h_{k + 1}": hazards[:, k].numpy() for k in range(hazards.shape[1])}
    return columns | {f"risk_{m}": risk_from_hazards(single[m]).numpy() for m in single}


def _regression_columns(
    logits: dict[str, torch.Tensor], target: RegressionTarget, truth: pd.DataFrame
) -> dict[str, Any]:
    """Return the truth and the experts' mean prediction in the label's unit, then their own."""
    single = {m: target.mean + target.sd * x.double().squeeze(1) for m, x in logits.items()}
    columns: dict[str, Any] = {
        "value": truth["value"].to_numpy(),
        "prediction": torch.stack(list(single.values())).mean(dim=0).numpy(),
    }
    return columns | {f"prediction_{m}": values.numpy() for m, values in single.items() if m}


def check_features(dataset: SlideDataset, description: ModelDescription, where: str) -> None:
    """Refuse features of another encoder than the one that a model was trained on."""
    found, problems = dataset.encoder() if len(dataset) else description.encoder, Problems()
    for name in compared(found, description.encoder):
        wanted, there = description.encoder.get(name), found.get(name)
        if wanted != there:
            advice = "extract the features as for training"
            problems.add(f"{where}, {name}", f"trained on {wanted!r}, features have {there!r}", advice)
    problems.check()


def write_representations(path: Path, predictions: Predictions) -> None:
    """Write the representations as HDF5: `slide_id`, `patient_id`, and one matrix (rows, width) float32 per kind."""
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name in ("slide_id", "patient_id"):
            ids = [str(value) for value in predictions.table[name]]
            file.create_dataset(name, data=ids, dtype=h5py.string_dtype(), track_times=False)
        for m, values in predictions.representations.items():
            dataset = file.create_dataset(m, data=values, track_times=False)
            if m in MAGNIFICATIONS:
                dataset.attrs["columns"] = ", then ".join(predictions.subspaces)
