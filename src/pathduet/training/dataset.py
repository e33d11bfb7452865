"""Slides, or patients without one, as training items: features from HDF5, token maps, expression and labels.

Features are read when first needed and kept (as float16, each tile once) in a :class:`FeatureCache`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathduet.core.errors import InputError, Problem
from pathduet.features.agreement import disagreements, encoder_of, usual_encoder
from pathduet.features.feature_file import SlideFeatures, open_features
from pathduet.features.foreign_tiles import FeatureFileError
from pathduet.training.task_targets import Observed

if TYPE_CHECKING:
    from pathduet.models.method.config import ModelConfig

CPU = torch.device("cpu")
_T = TypeVar("_T")


class ExpressionSource(Protocol):
    """Interface to a fold's expression matrix."""

    @property
    def genes(self) -> Mapping[str, Sequence[str]]:
        """Genes of each subspace in token order."""

    def row_for(self, patient_id: str, slide_id: str) -> Mapping[str, NDArray] | None:
        """Return z-scores of each subspace's genes in token order, or None."""


@dataclass(frozen=True)
class SlideSample:
    """One slide with its metadata, or one patient without slides.

    Attributes
    ----------
    slide_id, patient_id, cohort, part : str
        Identity, and part in the fold: ``train``, ``test`` or ``external``. `slide_id` is empty for a patient without
        slides.
    features : Path or None
        The slide's features.h5.
    label : int
        Class index or survival interval, 0 in regression; -1 if unknown.
    event : float
        1 if the event was seen, 0 if censored (and where the task is not survival).
    value : float
        z-score of a regression's value.
    """

    slide_id: str
    patient_id: str
    cohort: str
    part: str
    features: Path | None
    label: int = -1
    event: float = 0.0
    value: float = 0.0

    @property
    def name(self) -> str:
        """Name in errors: the slide, or the patient."""
        return self.slide_id or self.patient_id


@dataclass(frozen=True)
class Batch:
    """Items stacked: B slides, N tokens, d features, G genes."""

    index: Tensor  #: (B,) positions in the dataset
    slide_ids: tuple[str, ...]  #: for errors; the patient if there is no slide
    patches: dict[str, Tensor]  #: (B, N, d) float32 by magnification
    #: (B,) int64: how often a tile occurs among the tokens, at most; always on the CPU
    repeats: dict[str, Tensor]
    genes: dict[str, Tensor]  #: (B, G) by subspace, zeros where there is no expression
    has_expression: Tensor  #: (B,) bool
    label: Tensor  #: (B,) int64
    event: Tensor  #: (B,) float32
    value: Tensor  #: (B,) float32
    #: Positions in the batch of the items with a label, and of those with expression: their number needs no GPU read.
    labelled: Tensor = field(init=False)
    paired: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labelled", (self.label >= 0).nonzero().squeeze(1))
        object.__setattr__(self, "paired", self.has_expression.nonzero().squeeze(1))

    @property
    def observed(self) -> Observed:
        """Observed outcomes that a target compares predictions with."""
        return Observed(self.label, self.event, self.value)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device, without waiting for the copy."""
        if device.type == "cpu":
            return self
        moved = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                object.__setattr__(moved, name, sent(value, device))
            elif isinstance(value, dict) and name != "repeats":  # the host reads them
                object.__setattr__(moved, name, {m: sent(tensor, device) for m, tensor in value.items()})
        return moved


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; a copy to a GPU goes through pinned memory and is asynchronous."""
    if tensor.device.type != "cpu":
        return tensor
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


class _Tiles(NamedTuple):
    features: NDArray[np.float16]  # (n, d)
    rows: NDArray[np.int64]  # (N,) tile of each map cell

    @property
    def nbytes(self) -> int:
        return self.features.nbytes + self.rows.nbytes


class FeatureCache:
    """What the datasets of one job have read of features: its models read the same slides.

    Tiles are kept while there is room, which the datasets grant, and the oldest are evicted first. Statistics are small: all are kept.
    """

    def __init__(self) -> None:
        self.limit = self.size = 0  #: bytes
        self._tiles: OrderedDict[tuple[Any, ...], _Tiles] = OrderedDict()
        self._statistics: dict[tuple[Any, ...], Any] = {}

    def __len__(self) -> int:
        return len(self._tiles)

    def tiles(self, key: tuple[Any, ...], read: Callable[[], _Tiles]) -> _Tiles:
        """Return the tiles of a key, read if they are not kept."""
        if key in self._tiles:
            self._tiles.move_to_end(key)
            return self._tiles[key]
        tiles = read()
        if tiles.nbytes <= self.limit:
            self._tiles[key] = tiles
            self.size += tiles.nbytes
            while self.size > self.limit:
                self.size -= self._tiles.popitem(last=False)[1].nbytes
        return tiles

    def statistic(self, key: tuple[Any, ...], compute: Callable[[], _T]) -> _T:
        """Return the statistic of a key, computed at the first call."""
        if key not in self._statistics:
            self._statistics[key] = compute()
        found: _T = self._statistics[key]
        return found


class SlideDataset:
    """Training items of a list of slides.

    Parameters
    ----------
    samples : sequence of SlideSample
        The slides, in a fixed order.
    config : ModelConfig
        Number and order of tokens, and the magnifications.
    expression : ExpressionSource, optional
        The fold's expression; without it, no item has any.
    cache_mib : int
        Memory for features between epochs, in MiB.
    magnifications : sequence of str, optional
        Magnifications to read; none for a network of expression alone. Default: those of `config`.
    device : torch.device
        Device of the batches.
    cache : FeatureCache, optional
        Shared with other datasets; default: a new one.

    Raises
    ------
    InputError
        From :meth:`encoder`, if the feature files are inconsistent.
    """

    def __init__(
        self,
        samples: Sequence[SlideSample],
        config: ModelConfig,
        expression: ExpressionSource | None = None,
        cache_mib: int = 512,
        magnifications: Sequence[str] | None = None,
        device: torch.device = CPU,
        cache: FeatureCache | None = None,
    ) -> None:
        self.samples, self.device = list(samples), device
        self.magnifications = tuple(config.experts if magnifications is None else sorted(magnifications))
        self.config = config
        self.expression: list[dict[str, Tensor] | None] = [None] * len(self.samples)
        self.genes: dict[str, tuple[str, ...]] = {}
        if expression is not None:
            self.genes = {subspace: tuple(genes) for subspace, genes in expression.genes.items()}
            rows = [expression.row_for(sample.patient_id, sample.slide_id) for sample in self.samples]
            self.expression = [None if row is None else _expression(row) for row in rows]
        self.cache = FeatureCache() if cache is None else cache
        self.cache.limit = max(self.cache.limit, cache_mib * 2**20)
        self._maps = (
            config.tokens,
            config.token_order,
            self.magnifications,
        )  # which tiles are read, and where they lie

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def patients(self) -> list[list[int]]:
        """Positions of each patient's slides, patients in order of first appearance."""
        found: dict[str, list[int]] = {}
        for i, sample in enumerate(self.samples):
            found.setdefault(sample.patient_id, []).append(i)
        return list(found.values())

    def encoder(self) -> dict[str, str | int | float]:
        """Return the encoder metadata of all feature files; {} if no magnification is read and so no file is opened.

        Raises
        ------
        InputError
            If encoders, widths, weights, stain backends or tile sizes differ; names the slides of each kind.
        """
        found: dict[str, dict[str, str | int | float]] = {}
        for sample in self.samples if self.magnifications else ():
            found[sample.slide_id] = self._header(sample)[0]
        if not found:
            return {}
        if problems := disagreements(found):
            raise InputError(problems)
        return usual_encoder(found)

    def feature_keys(self) -> list[str]:
        """Return the key of what each feature file was made of; [] if no magnification is read and so no file is opened."""
        return [self._header(sample)[1] for sample in self.samples] if self.magnifications else []

    def _header(self, sample: SlideSample) -> tuple[dict[str, str | int | float], str]:
        """Return a file's encoder and key: a job's models and parts all ask, and opening a file takes longer than they do."""
        path = _features(sample)
        key = ("header", path, self.magnifications)
        try:
            return self.cache.statistic(key, partial(_read_header, path, self.magnifications))
        except (OSError, KeyError, FeatureFileError) as error:
            raise _unreadable(sample, "", error) from None

    def tiles(self, index: int, magnification: str) -> _Tiles:
        """Return a slide's features (n, d) and the tile of each map cell, from the cache if present."""
        sample = self.samples[index]
        key = (sample.features, magnification, *self._maps)
        return self.cache.tiles(key, lambda: self._read(sample, magnification))

    def _read(self, sample: SlideSample, magnification: str) -> _Tiles:
        try:
            with open_features(_features(sample)) as file:
                rows = map_rows(file, magnification, self.magnifications, self.config)
                used, rows = np.unique(rows, return_inverse=True)  # tiles without a token need no memory
                features = file.features(magnification, used)
        except (OSError, KeyError, ValueError) as error:
            raise _unreadable(sample, f", {magnification}", error) from None
        with np.errstate(over="ignore"):  # values beyond half precision become infinite
            features = features.astype(np.float16, copy=False)
        if not all_finite(features):
            found = "values that are not finite in half precision"
            where = f"features of slide {sample.slide_id}, {magnification}"
            raise InputError([Problem(where, found, "extract them again")])
        return _Tiles(features, rows.astype(np.int64))

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the items of some positions as one batch, on :attr:`device`."""
        patches: dict[str, Tensor] = {}
        repeats: dict[str, Tensor] = {}
        for m in self.magnifications:
            tiles = [self.tiles(i, m) for i in indices]
            patches[m] = self._tokens(tiles)
            repeats[m] = torch.tensor([np.bincount(t.rows).max() for t in tiles])
        blank = {subspace: torch.zeros(len(genes)) for subspace, genes in self.genes.items()}
        rows = [self.expression[i] or blank for i in indices]
        samples = [self.samples[i] for i in indices]
        return Batch(
            index=torch.tensor(list(indices), dtype=torch.int64),
            slide_ids=tuple(sample.name for sample in samples),
            patches=patches,
            repeats=repeats,
            genes={subspace: torch.stack([row[subspace] for row in rows]) for subspace in self.genes},
            has_expression=torch.tensor([self.expression[i] is not None for i in indices]),
            label=torch.tensor([sample.label for sample in samples], dtype=torch.int64),
            event=torch.tensor([sample.event for sample in samples], dtype=torch.float32),
            value=torch.tensor([sample.value for sample in samples], dtype=torch.float32),
        ).to(self.device)

    def _tokens(self, tiles: Sequence[_Tiles]) -> Tensor:
        """Return the tokens (B, N, d) of some slides."""
        if self.device.type != "cpu":
            return gathered(tiles, self.device)
        # Gathered as float16 and widened in place: any other order copies the batch once more. Indexing takes four times as long.
        tokens = torch.empty(len(tiles), self.config.tokens, tiles[0].features.shape[1])
        for slide, t in zip(tokens, tiles, strict=True):
            slide.copy_(torch.from_numpy(t.features).index_select(0, torch.from_numpy(t.rows)))
        return tokens

    def feature_moments(self, most: int = 256) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Return mean and standard deviation (d,) of each feature by magnification.

        Every slide counts the same, regardless of its tiles; of more than `most` slides, evenly spaced
        slides are used.
        """
        count = min(len(self), most)
        picks = [i * len(self) // count for i in range(count)]
        slides = tuple(self.samples[i].features for i in picks)
        return {
            m: self.cache.statistic(("moments", m, *self._maps, slides), partial(self._moments, picks, m))
            for m in self.magnifications
        }

    def _moments(self, picks: Sequence[int], magnification: str) -> tuple[Tensor, Tensor]:
        sums: list[NDArray[np.float64]] = []
        for i in picks:
            features = self.tiles(i, magnification).features.astype(np.float32)
            sums.append(
                np.stack([features.mean(axis=0), np.square(features).mean(axis=0)]).astype(np.float64)
            )
        mean, square = np.mean(sums, axis=0)
        sd = np.sqrt(np.maximum(square - mean**2, 0))
        return torch.from_numpy(mean).float(), torch.from_numpy(sd).float()

    def sampled_features(self, magnification: str, most: int = 64, tiles: int = 256) -> Iterator[Tensor]:
        """Yield features (n, d) of evenly spaced tiles of evenly spaced slides: of at most `most` slides, at most `tiles` of each."""
        from pathduet.features.token_map import token_indices

        count = min(len(self), most)
        for i in range(count):
            features = self.tiles(i * len(self) // count, magnification).features
            rows = token_indices(len(features), min(tiles, len(features)))
            yield torch.from_numpy(features[rows].astype(np.float32))

    def feature_axes(self, moments: Mapping[str, tuple[Tensor, Tensor]], most: int) -> Mapping[str, Tensor]:
        """Return the first principal axes (k, d) of the standardised features by magnification, largest variance first.

        Every slide of the sample (:meth:`sampled_features`) counts the same. Variance within and between slides counts.

        Parameters
        ----------
        moments : mapping
            From :meth:`feature_moments`.
        most : int
            Number of axes, if there are as many.
        """
        slides = tuple(sample.features for sample in self.samples)
        axes = {}
        for m, both in moments.items():
            key = ("axes", m, most, *self._maps, slides, *(moment.numpy().tobytes() for moment in both))
            axes[m] = self.cache.statistic(key, partial(self._axes, m, *both, most))
        return axes

    def _axes(self, magnification: str, mean: Tensor, sd: Tensor, most: int) -> Tensor:
        scale = torch.where(sd > 1e-6, 1 / sd.clamp(min=1e-6), torch.zeros_like(sd))
        gram = torch.zeros(len(mean), len(mean), dtype=torch.float64)
        for features in self.sampled_features(magnification):
            x = (features - mean) * scale
            gram.addcdiv_(x.T @ x, torch.tensor(len(x)))  # in float64, without a copy
        return principal_axes(gram, most)


def gathered(tiles: Sequence[_Tiles], device: torch.device) -> Tensor:
    """Return the tokens (B, N, d) float32 of some slides on a device; each tile is sent once, as float16."""
    first = np.cumsum([0, *(len(t.features) for t in tiles[:-1])])
    features = torch.from_numpy(np.concatenate([t.features for t in tiles]))
    rows = torch.from_numpy(np.stack([t.rows + start for t, start in zip(tiles, first, strict=True)]))
    return sent(features, device)[sent(rows, device)].float()


def principal_axes(gram: Tensor, most: int) -> Tensor:
    """Return the first `most` eigenvectors (k, d) of a (d, d) second moment, largest first; negligible ones are left out.

    Signs are fixed by the largest entry, so that they do not depend on the library.
    """
    from scipy.linalg import eigh

    # Torch computes all of them: three times as long for the 64 of 1,280 that a network starts from.
    wanted = max(len(gram) - most, 0), len(gram) - 1
    values, vectors = map(torch.from_numpy, eigh(gram.numpy(), subset_by_index=wanted))
    kept = values > 1e-6 * values[-1]
    axes = vectors.T[kept].flip(0)  # (k, d)
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return (axes * largest.sign()).float()


def all_finite(values: NDArray[np.floating]) -> bool:
    """Return whether no value is infinite or NaN."""
    if values.dtype != np.float16:
        return bool(np.isfinite(values).all())
    # A non-finite float16 has all five exponent bits set. numpy.isfinite widens each value: ten times slower.
    exponent = np.uint16(0x7C00)
    return not bool(((values.view(np.uint16) & exponent) == exponent).any())


def map_rows(
    file: SlideFeatures, magnification: str, read: Sequence[str], config: ModelConfig
) -> NDArray[np.int64]:
    """Return for each cell of a model's token map (N,), row by row, the tile that lies there.

    Parameters
    ----------
    file : SlideFeatures
        The slide's features, opened.
    magnification : str
        Magnification of the map.
    read : sequence of str
        Magnifications that the network reads, the coarser first: in Hilbert order, the second's map is nested in the first's.
    config : ModelConfig
        Number and order of tokens.
    """
    from pathduet.features.token_map import nested_token_rows, parents, token_rows

    order: Any = config.token_order
    grid = file.grid(magnification)
    if magnification == read[0] or order == "raster":
        return token_rows(grid, config.tokens, order)
    centres = [_centres(file, m) for m in (read[0], magnification)]
    coarse = file.grid(read[0])
    if centres[0] is None or centres[1] is None:  # one list each, in the same order
        parent = np.arange(len(grid)) * len(coarse) // len(grid)
    else:
        parent = parents(centres[0], centres[1])
    return nested_token_rows(coarse, grid, parent, config.tokens)


def _read_header(path: Path, magnifications: tuple[str, ...]) -> tuple[dict[str, str | int | float], str]:
    with open_features(path) as file:
        return encoder_of(file, magnifications), str(file.attributes.get("key", ""))


def _centres(file: SlideFeatures, magnification: str) -> NDArray[np.float64] | None:
    corners = file.coords(magnification)
    return None if corners is None else corners + np.array(file.tile_size(magnification)) / 2


def _expression(row: Mapping[str, NDArray]) -> dict[str, Tensor]:
    return {
        subspace: torch.from_numpy(np.array(values, dtype=np.float32)) for subspace, values in row.items()
    }


def _features(sample: SlideSample) -> Path:
    if sample.features is None:
        raise ValueError(
            f"patient {sample.patient_id} has no slide: only networks of expression alone are given such patients"
        )
    return sample.features


def _unreadable(sample: SlideSample, where: str, error: Exception) -> InputError:
    found = "no features.h5" if isinstance(error, FileNotFoundError) else str(error)
    return InputError([Problem(f"features of slide {sample.slide_id}{where}", found, "extract them again")])
