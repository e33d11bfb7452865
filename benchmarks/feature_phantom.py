"""A phantom of feature vectors: hundreds of patients with known truth in seconds, for training on a CPU.

Patients come from `pathduet.phantom.latents` (the latents of `pathduet simulate`) or, with four programmes, from
`pathduet.phantom.labels`, like those of a design; region maps come from `pathduet.phantom.layout`. Instead of pixels, every
tile draws a feature vector around the mean of its region; instead of counts, every gene is a loading times the programme
plus noise.

Three looks: ``flat`` draws the means of the regions independently, so that tumour regions are no more similar to each
other than to the rest, and no region changes with the programmes; ``nuclei`` adds the effect of the nuclei of
`pathduet simulate`: tiles move along one axis with their region's density of tumour nuclei, and along another with the
tumour programme in proportion to that density; ``distinct`` is flat with regions so far apart that every structure's
share of the tissue is visible. The sizes of the other two were measured in the encoder's features of the pixel phantom
(docs/results/truth.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pathduet.cohort.survival_bins import bin_index, discretize
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.config import resolve
from pathduet.evaluation.classification_metrics import classification_scores
from pathduet.evaluation.survival_metrics import survival_scores
from pathduet.features.token_map import nested_token_rows, parents, token_rows
from pathduet.losses.survival import survival_risk
from pathduet.models import (
    MAGNIFICATIONS,
    ModelConfig,
    Student,
    Teacher,
    combine_hazards,
    combine_probabilities,
)
from pathduet.models.magnification_experts import answers_of
from pathduet.models.method.patch_tokens import PatchTokens
from pathduet.models.tile_prototypes import TilePrototypes
from pathduet.phantom.design import Design
from pathduet.phantom.labels import draw_labels
from pathduet.phantom.latents import Effects, simulate_patients
from pathduet.phantom.layout import REGIONS, extents, lay_out
from pathduet.phantom.random_numbers import generator
from pathduet.phantom.tissue import TUMOR_NUCLEI
from pathduet.training.dataset import Batch, principal_axes
from pathduet.training.task_targets import ClassTarget, SurvivalTarget, TaskTarget

PATIENTS, FEATURES = 160, 64
MAP_SIDE, TILE_SIDE = 48, {"10x": 4, "20x": 2}  # pixels of the region map
REGION_SPREAD, SHIFT, SLIDE_NOISE, EXPRESSION_NOISE, GENE_NOISE = 0.25, 0.2, 0.5, 0.5, 1.5
SPARE_NOISE = (0.4, 1.1)  # SD of spare genes, in units of GENE_NOISE
LOOK_NOISE = 0.5  # of the tumour programme's effect on the nuclei
#: Spread of the region means, shift by the density of tumour nuclei, and shift per SD of the tumour programme.
LOOKS = {"flat": (REGION_SPREAD, 0.0, 0.0), "nuclei": (0.18, 4.5, 1.1), "distinct": (0.8, 0.0, 0.0)}
SIZES = ModelConfig(
    tokens=144,
    width=32,
    heads=4,
    head_dim=8,
    offset_groups=4,
    offset_kernel=3,
    stride=2,
    offset_range_points=2.0,
)


#: The demo's tasks.
TASKS: dict[str, Task] = tasks_of(resolve({}))


@dataclass(frozen=True)
class Programmes:
    """The planted programmes.

    Attributes
    ----------
    genes : mapping of str to int
        Genes of each subspace; half of them follow its programme.
    channels : mapping of str to str
        The subspace that each channel of a slide shows.
    plan : mapping
        What the labels follow, as in a design file; empty for the demo's patients.
    """

    genes: Mapping[str, int]
    channels: Mapping[str, str]
    plan: Mapping[str, Any]

    def patients(self, n: int, seed: int, effects: Effects | None = None) -> Any:
        """Return patients with `z_<subspace>`, `log_hazard` and the columns of the tasks."""
        if not self.plan:
            return simulate_patients(n, "truth", seed=seed, effects=effects)
        return draw_labels(self.plan, n, "truth", seed=seed, prefix="T").rename(
            columns={"score_survival": "log_hazard"}
        )


GENES = {"tumor": 20, "tme": 40}
TWO = Programmes(GENES, Design().channels, {})
_CHANNELS = ("cells", "necrosis", "vessels", "edge")
#: Four independent programmes with equal weights in the hazard, each with its own channel and diagnosis.
FOUR = Programmes(
    dict.fromkeys(_CHANNELS, 20),
    {channel: channel for channel in _CHANNELS},
    {
        "subspaces": dict.fromkeys(_CHANNELS),
        "tasks": {
            "diagnosis": {
                "kind": "classification", "column": "diagnosis", "classes": list(_CHANNELS),
                "truth": {"follows": {channel: {channel: 1.0} for channel in _CHANNELS}, "noise": 0.45},
            },
            "survival": {
                "kind": "survival", "time": "survival_days", "event": "event",
                "truth": {"follows": dict.fromkeys(_CHANNELS, 0.8), "median": 1000},
            },
        },
    },
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """Differences from the plain phantom: conditions in which a part of the method should gain, and others in which it should not.

    Attributes
    ----------
    effects : Effects, optional
        Effects of the programmes: correlated, interacting, with few events.
    genes_shuffled : bool
        The genes of both subspaces are reassigned at random, with equal sizes: the split has no meaning.
    silent : str
        Subspace whose genes carry no information.
    shortcut : str
        Subspace in which a fifth of the genes reveal the label of training patients, but not of others.
    label_noise : float
        Share of training patients who have another patient's label.
    apart : bool
        Half of the regions look alike at 10x, the other half at 20x.
    slides : tuple of int
        Possible numbers of slides per patient.
    site_shift : float
        SD of a shift of all features of the test half, which comes from another scanner.
    unpaired : float
        Share of training patients without expression.
    unlabelled : float
        Share of training patients without a label.
    size : float
        Factor on the number of patients.
    """

    effects: Effects | None = None
    genes_shuffled: bool = False
    silent: str = ""
    shortcut: str = ""
    label_noise: float = 0.0
    apart: bool = False
    slides: tuple[int, ...] = (1,)
    site_shift: float = 0.0
    unpaired: float = 0.0
    unlabelled: float = 0.0
    size: float = 1.0


PLAIN = Ground()
#: By name; each is compared with the plain one.
GROUNDS = {
    "plain": PLAIN,
    "genes shuffled": Ground(genes_shuffled=True),
    "programmes correlated": Ground(Effects(correlation=0.7)),
    "interaction": Ground(Effects(interaction=1.1)),
    "silent subspace": Ground(silent="tme"),
    "shortcut": Ground(shortcut="tme"),
    "label noise": Ground(label_noise=0.2),
    "magnifications apart": Ground(apart=True),
    "one to six slides": Ground(slides=(1, 1, 2, 6)),
    "site shift": Ground(site_shift=0.5),
    "half without expression": Ground(unpaired=0.5),
    "three quarters without a label": Ground(unlabelled=0.75, size=8 / 3),
    "one in twenty events": Ground(Effects(censored=0.95), size=3),
}


@dataclass
class Phantom:
    """Slides of patients as tensors, n of them; :meth:`part` makes a dataset of some of them."""

    patients: Any  # DataFrame with the truth, one row per slide
    tokens: dict[str, Tensor]  # (n, N, d)
    repeats: dict[str, Tensor]  # (n,)
    regions: dict[str, np.ndarray]  # (n, N) keys of REGIONS
    genes: dict[str, Tensor]  # (n, G), standardised
    gene_sd: dict[str, np.ndarray]  # (G,) before standardisation, on the training half
    label: Tensor
    event: Tensor
    outcome: TaskTarget
    train: np.ndarray  # (n,) bool
    paired: np.ndarray  # (n,) bool: expression is known

    def part(self, train: bool, only: np.ndarray | None = None) -> Part:
        """Return the slides of the training or the test half, or the subset that `only` (n,) marks."""
        chosen = self.train == train
        return Part(self, np.flatnonzero(chosen if only is None else chosen & only))

    @property
    def labelled(self) -> np.ndarray:
        """(n,) whether the label is known."""
        return (self.label >= 0).numpy()


class Part:
    """Training items: rows of a phantom."""

    def __init__(self, phantom: Phantom, rows: np.ndarray) -> None:
        self.phantom, self.rows = phantom, rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def patients(self) -> list[list[int]]:
        """Positions of each patient's slides."""
        found: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            found.setdefault(self.phantom.patients.index[row], []).append(i)
        return list(found.values())

    def batch(self, indices: Sequence[int], /) -> Batch:
        """Return the items at some positions."""
        at = torch.from_numpy(self.rows[list(indices)])
        p = self.phantom
        return Batch(
            index=torch.tensor(list(indices)),
            slide_ids=tuple(p.patients.index[int(i)] for i in at),
            patches={m: p.tokens[m][at] for m in MAGNIFICATIONS},
            repeats={m: p.repeats[m][at] for m in MAGNIFICATIONS},
            genes={s: values[at] for s, values in p.genes.items()},
            has_expression=torch.from_numpy(p.paired[at.numpy()]),
            label=p.label[at],
            event=p.event[at],
            value=torch.zeros(len(at)),
        )


def make_phantom(
    seed: int,
    task: str,
    token_order: str = "hilbert",
    n_patients: int = PATIENTS,
    n_tokens: int = SIZES.tokens,
    look: str = "flat",
    spare_genes: int = 0,
    programmes: Programmes = TWO,
    ground: Ground = PLAIN,
) -> Phantom:
    """Draw the patients, slides and genes of one seed; moments of the training half scale features and genes.

    `spare_genes` is the number of uninformative genes per gene of a subspace; they are less variable on average.
    """
    n_patients = round(n_patients * ground.size)
    spread, density_shift, programme_shift = LOOKS[look]
    patients = programmes.patients(n_patients, seed, ground.effects)
    rng = generator(seed, "feature-level phantom")
    # separate random numbers: the ground's changes are the only difference from the plain phantom
    hard = generator(seed, "ground")
    of = np.repeat(np.arange(n_patients), hard.choice(ground.slides, n_patients))  # each slide's patient
    n, N = len(of), n_tokens
    centers = {m: spread * rng.standard_normal((len(REGIONS), FEATURES)) for m in MAGNIFICATIONS}
    if ground.apart:
        first, second = np.array_split(hard.permutation(len(REGIONS)), 2)
        centers["10x"][first], centers["20x"][second] = (
            centers["10x"][first].mean(axis=0), centers["20x"][second].mean(axis=0)
        )  # fmt: skip
    # Separate random numbers: the flat look is the same with and without them.
    own = generator(seed, "look of the nuclei")
    axes = {m: own.standard_normal((2, FEATURES)) / FEATURES**0.5 for m in MAGNIFICATIONS}
    nuclei = np.sqrt([TUMOR_NUCLEI[region] / max(TUMOR_NUCLEI.values()) for region in REGIONS])
    tokens = {m: np.empty((n, N, FEATURES), dtype=np.float32) for m in MAGNIFICATIONS}
    regions = {m: np.empty((n, N), dtype=np.int64) for m in MAGNIFICATIONS}
    repeats = {m: np.empty(n, dtype=np.int64) for m in MAGNIFICATIONS}
    latents = {s: patients[f"z_{s}"].to_numpy() for s in programmes.genes}
    for i in range(n):
        shown = {s: z[of[i]] + SLIDE_NOISE * rng.standard_normal() for s, z in latents.items()}
        by_channel = {channel: shown[s] for channel, s in programmes.channels.items()}
        labels = lay_out(MAP_SIDE, MAP_SIDE, extents(by_channel, rng), rng).labels
        shift = SHIFT * rng.standard_normal(FEATURES)
        seen = by_channel["cells"] + LOOK_NOISE * own.standard_normal()
        along = np.array([density_shift, programme_shift * seen])
        grids = {m: tiles(labels, TILE_SIDE[m]) for m in MAGNIFICATIONS}
        parent = parents(*((grid + 0.5) * TILE_SIDE[m] for m, (grid, _) in grids.items()))
        for m, (grid, region) in grids.items():
            means = centers[m] + nuclei[:, None] * (along @ axes[m])
            values = means[region] + shift + rng.standard_normal((len(region), FEATURES))
            rows = (
                token_rows(grid, N, token_order)  # type: ignore[arg-type]
                if m == "10x" or token_order == "raster"
                else nested_token_rows(grids["10x"][0], grid, parent, N)
            )
            tokens[m][i], regions[m][i] = values[rows], region[rows]
            repeats[m][i] = np.bincount(rows).max()
    genes = {}
    for s, count in programmes.genes.items():
        measured = latents[s] + EXPRESSION_NOISE * rng.standard_normal(n_patients)
        loading = rng.uniform(0.3, 1.0, count) * rng.choice([-1, 1], count) * (rng.random(count) < 0.5)
        loading *= s != ground.silent
        genes[s] = measured[:, None] * loading + GENE_NOISE * rng.standard_normal((n_patients, count))
        count *= spare_genes
        spare = GENE_NOISE * own.uniform(*SPARE_NOISE, count) * own.standard_normal((n_patients, count))
        genes[s] = np.concatenate([genes[s], spare], axis=1)
    train = np.zeros(n_patients, dtype=bool)
    train[rng.permutation(n_patients)[: n_patients // 2]] = True
    outcome: TaskTarget
    event = patients["event"].astype(float)
    if task == "survival":
        edges = discretize(patients.loc[train, "survival_days"], event[train], 4)
        outcome = SurvivalTarget(tuple(float(e) for e in edges))
        label = bin_index(patients["survival_days"], edges)
    else:
        planned = programmes.plan.get("tasks", {}).get(task)
        classes = tuple(planned["classes"]) if planned else TASKS[task].classes
        outcome = ClassTarget(classes)
        label = np.array([classes.index(name) for name in patients[TASKS[task].column]])
    given = label.copy()  # labels used in training
    if ground.label_noise:
        wrong = train & (hard.random(n_patients) < ground.label_noise)
        given[wrong] = (label[wrong] + hard.integers(1, outcome.outputs, wrong.sum())) % outcome.outputs
    if ground.shortcut:
        told = hard.permutation(genes[ground.shortcut].shape[1])[: genes[ground.shortcut].shape[1] // 5]
        marks = GENE_NOISE * hard.standard_normal((outcome.outputs, len(told)))
        genes[ground.shortcut][np.ix_(train, told)] += 2 * marks[given[train]]
        genes[ground.shortcut][np.ix_(~train, told)] += (
            2 * marks[hard.integers(0, outcome.outputs, (~train).sum())]
        )
    if ground.genes_shuffled:
        whole = np.concatenate(list(genes.values()), axis=1)[
            :, hard.permutation(sum(x.shape[1] for x in genes.values()))
        ]
        ends = np.cumsum([x.shape[1] for x in genes.values()])[:-1]
        genes = dict(zip(genes, np.split(whole, ends, axis=1), strict=True))
    if ground.site_shift:
        for m in MAGNIFICATIONS:
            tokens[m][~train[of]] += (ground.site_shift * hard.standard_normal(FEATURES)).astype(np.float32)
    given = np.where(train & (hard.random(n_patients) < ground.unlabelled), -1, given)
    paired = ~(train & (hard.random(n_patients) < ground.unpaired))
    gene_sd = {s: x[train].std(0) for s, x in genes.items()}
    scaled = {s: ((x - x[train].mean(0)) / gene_sd[s])[of] for s, x in genes.items()}
    return Phantom(
        patients.iloc[of], {m: torch.from_numpy(x) for m, x in tokens.items()},
        {m: torch.from_numpy(x) for m, x in repeats.items()}, regions,
        {s: torch.from_numpy(x.astype(np.float32)) for s, x in scaled.items()}, gene_sd,
        torch.from_numpy(given[of].astype(np.int64)), torch.tensor(event.to_numpy()[of], dtype=torch.float32),
        outcome, train[of], paired[of],
    )  # fmt: skip


def tiles(labels: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (col, row) and the most frequent region of each tile that is at least half tissue."""
    h, w = labels.shape[0] // side, labels.shape[1] // side
    blocks = labels[: h * side, : w * side].reshape(h, side, w, side).swapaxes(1, 2).reshape(h * w, -1)
    counts = np.stack([(blocks == region).sum(1) for region in REGIONS], axis=1)
    kept = np.flatnonzero(counts[:, 0] <= blocks.shape[1] / 2)
    region = 1 + counts[kept, 1:].argmax(1)
    return np.stack([kept % w, kept // w], axis=1), region


def fresh(build: Any, part: Part, seed: int, patch_start: str | None = None) -> nn.Module:
    """Return a network initialised by the seed, its features standardised (and aligned) by the training half.

    Tokens start according to `patch_start`, or each block of patch tokens by its default (the method's: principal axes).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
    rows = torch.from_numpy(part.rows)
    moments, axes = {}, {}
    for m in MAGNIFICATIONS:
        flat = part.phantom.tokens[m][rows].flatten(0, 1)
        mean, sd = moments[m] = flat.mean(0), flat.std(0)
        scaled = ((flat - mean) / sd).double()
        axes[m] = principal_axes(scaled.T @ scaled)
    for name, module in network.named_modules():
        if isinstance(module, PatchTokens):
            (magnification,) = [m for m in MAGNIFICATIONS if m in name]
            module.standardise(*moments[magnification])
            if (patch_start or module.start) == "principal":
                module.align(axes[magnification])
        elif isinstance(module, TilePrototypes):
            module.fit(part.phantom.tokens[name.rpartition(".")[2]][rows].flatten(0, 1))
    return network


@torch.no_grad()
def answers(network: nn.Module, part: Part) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Return logits and representations by magnification, and for students the mask of the first subspace's prototype."""
    network.eval()
    logits: dict[str, list[Tensor]] = {}
    representation: dict[str, list[Tensor]] = {}
    mask: dict[str, list[Tensor]] = {}
    for start in range(0, len(part), 20):
        batch = part.batch(range(start, min(start + 20, len(part))))
        if isinstance(network, Teacher):
            output: Any = network(batch.patches["10x"], batch.patches["20x"], batch.genes)
        elif isinstance(network, Student):
            output = network(
                batch.patches["10x"], batch.patches["20x"], batch.repeats["10x"], batch.repeats["20x"]
            )
        else:
            answer = network(batch)
            if not isinstance(answer, Tensor):
                experts = [one.logits for one in answers_of(answer).values()]
                answer = experts[0] if len(experts) == 1 else part.phantom.outcome.averaged(experts).float()
            for m in MAGNIFICATIONS:
                logits.setdefault(m, []).append(answer)
            continue
        for m in output.logits:
            logits.setdefault(m, []).append(output.logits[m])
            representation.setdefault(m, []).append(output.representation[m])
            if isinstance(network, Student) and m in output.aggregation:
                first = output.order[m][:, :1]  # the first prototype in the order
                mask.setdefault(m, []).append(output.aggregation[m].assignment == first)
    return tuple({m: torch.cat(x) for m, x in found.items()} for found in (logits, representation, mask))  # type: ignore[return-value]


def probability_and_risk(phantom: Phantom, logits: dict[str, Tensor], rule: str) -> np.ndarray:
    """Return the combined predictions of both experts: probabilities (n, K) of the classes, or risks (n,)."""
    if isinstance(phantom.outcome, SurvivalTarget):
        hazards, _ = combine_hazards(logits)
        return survival_risk(torch.logit(hazards.double().clamp(1e-9, 1 - 1e-9))).numpy()
    probability, _, _ = combine_probabilities({m: x.double() for m, x in logits.items()}, rule)
    return probability.numpy()


def scores(phantom: Phantom, part: Part, predicted: np.ndarray) -> dict[str, float]:
    """Return the metrics of probabilities (n, K) or risks (n,) over the part's patients, averaged over their slides."""
    first = [slides[0] for slides in part.patients]
    if len(predicted) != len(first):  # one row per slide
        predicted = np.stack([predicted[slides].mean(axis=0) for slides in part.patients])
    if isinstance(phantom.outcome, SurvivalTarget):
        patients = phantom.patients.iloc[part.rows[first]]
        time, event = (patients[name].to_numpy(dtype=float) for name in ("survival_days", "event"))
        return {"c_index": float(survival_scores(time, event, predicted).values["c_index"] or np.nan)}
    truth = phantom.label[torch.from_numpy(part.rows[first])].numpy()
    values = classification_scores(truth, predicted, list(phantom.outcome.classes)).values
    return {name: float(np.nan if value is None else value) for name, value in values.items()}


def score(phantom: Phantom, part: Part, logits: dict[str, Tensor], rule: str) -> float:
    """Return the C-index or the macro AUC over the part's patients."""
    metric = "c_index" if isinstance(phantom.outcome, SurvivalTarget) else "auc"
    return scores(phantom, part, probability_and_risk(phantom, logits, rule))[metric]


def interval(values: np.ndarray) -> str:
    """Return the mean and its 95 % t interval over seeds."""
    from scipy.stats import t

    if len(values) < 2:
        return f"{values.mean():.3f}"
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.3f} [{values.mean() - half:.3f}, {values.mean() + half:.3f}]"
