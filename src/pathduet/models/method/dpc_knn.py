"""DPC-KNN clustering of tokens and weighted merging of each cluster: equations 10 to 12 of the paper.

Density peak clustering with K nearest neighbours (Du, Ding and Jia, Knowledge-Based Systems 2016). Squared
distances are divided by the width, so that densities do not depend on it, and ties are broken by index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pathduet.models.precision import at_least_float32

#: Slides that a GPU clusters at once.
_SLIDES = 8
#: Rows that are processed at once: a block of 2,500 columns fits a core's cache.
_ROWS = 128
#: Columns that are searched together for the nearest neighbours.
_GROUP = 25


class Clusters(NamedTuple):
    """Result of :func:`dpc_knn`.

    Attributes
    ----------
    assignment : Tensor
        (B, N) int64; cluster of each token, an index into `centers`.
    centers : Tensor
        (B, K) int64; token index of each cluster's centre, best score first.
    density : Tensor
        (B, N); eq. 10, in (0, 1]. Higher = closer to its neighbours.
    separation : Tensor
        (B, N); eq. 11: squared distance (divided by the width) to the nearest token of higher density.
    """

    assignment: Tensor
    centers: Tensor
    density: Tensor
    separation: Tensor


@torch.no_grad()
def dpc_knn(tokens: Tensor, n_clusters: int, n_neighbors: int | Tensor = 5) -> Clusters:
    """Cluster the tokens of each slide around density peaks (eq. 10 and 11).

    Parameters
    ----------
    tokens : Tensor
        (B, N, C). Half precision and whole numbers are converted to float32.
    n_clusters : int
        K, between 1 and N.
    n_neighbors : int or Tensor
        Nearest neighbours in the density, the token itself included; one number, or (B,) one per slide (where
        tokens are repeated, a token's own copies use up neighbours). More than N counts as N. Reading a tensor on a GPU waits for it.

    Returns
    -------
    Clusters
        Among tokens of equal density, the one with the lower index counts as denser; among equal scores or
        distances, the lower index wins. No gradient flows through any of them.

    Raises
    ------
    ValueError
        If `tokens` has another number of dimensions, or K or the number of neighbours is impossible.

    Notes
    -----
    Memory is that of one N x N matrix on the CPU, of up to eight on a GPU, for any B and C. The matrix is symmetric bit by
    bit; ties are exact for copies of a token and for tokens of small whole numbers. Densities are compared by their
    exponents, so that distant tokens differ even where the density itself is 0 in floating point. Nothing is read back from a GPU.

    References
    ----------
    Du, Ding and Jia, Study on density peaks clustering based on k-nearest neighbors and principal component
    analysis, Knowledge-Based Systems 99 (2016).
    """
    if tokens.ndim != 3:
        raise ValueError(f"tokens must be (B, N, C); found {tuple(tokens.shape)}")
    B, N, _ = tokens.shape
    if not 1 <= n_clusters <= N:
        raise ValueError(f"{n_clusters} clusters out of {N} tokens")
    neighbors = n_neighbors.tolist() if isinstance(n_neighbors, Tensor) else [n_neighbors] * B
    if len(neighbors) != B or min(neighbors, default=1) < 1:
        raise ValueError(f"n_neighbors must be at least 1, one number or {B}; found {n_neighbors}")
    tokens = at_least_float32(tokens)
    slides = 1 if tokens.device.type == "cpu" else _SLIDES
    squared = tokens.new_empty(min(slides, B), N, N)
    counts = [neighbors[i : i + slides] or [1] for i in range(0, max(B, 1), slides)]
    # Distances between neighbours are lost in bfloat16.
    with torch.autocast(tokens.device.type, enabled=False):
        found = [
            _cluster_slides(part, n_clusters, [min(k, N) for k in of_part], squared[: len(part)])
            for part, of_part in zip(tokens.split(slides), counts, strict=True)
        ]
    return Clusters(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _cluster_slides(tokens: Tensor, n_clusters: int, neighbors: Sequence[int], squared: Tensor) -> Clusters:
    """Cluster (S, N, C) tokens; `squared` (S, N, N) is overwritten."""
    S, N, C = tokens.shape
    positions = torch.arange(N, device=tokens.device)
    # Rounding of |a|^2 + |b|^2 - 2ab grows with |a|: centre first, on a token, so that whole numbers stay whole.
    middle = (tokens - tokens.mean(dim=1, keepdim=True)).square().sum(dim=2).argmin(dim=1)
    moved = tokens - _rows(tokens, middle.unsqueeze(1))
    norm = moved.square().sum(dim=2)
    _squared_distances(moved, norm, out=squared)  # times the width
    # Copies of a token differ only by rounding.
    first = _first_copies(moved, norm)
    copied = first != positions
    if tokens.device.type != "cpu" or bool(copied.any()):  # on a GPU, filling is faster than reading
        squared.masked_fill_(first.unsqueeze(1) == first.unsqueeze(2), 0)
    nearest, columns = _smallest(squared, max(neighbors))  # (S, N, k)
    if min(neighbors) == max(neighbors):
        spread = nearest.sum(dim=2) / (neighbors[0] * C)
    else:
        used = torch.tensor(neighbors).to(tokens.device, non_blocking=True).view(S, 1, 1)
        beyond = positions[: nearest.shape[2]] >= used
        spread = nearest.masked_fill(beyond, 0).sum(dim=2) / (used.squeeze(2) * C)
    spread = spread.gather(1, first)  # minus the exponent of eq. 10

    # From the densest down; a stable sort puts the lower index first among equals.
    order = torch.argsort(spread, dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, positions.expand(S, N))
    densest = order[:, :1]
    farthest = _rows(squared, densest).amax(dim=2)
    # If any of the nearest neighbours is denser, the nearest denser token is among them.
    denser = rank.gather(1, columns.flatten(1)).view_as(columns) < rank.unsqueeze(2)
    separation = nearest.masked_fill(~denser, torch.inf).amin(dim=2)
    blocks: Iterable[Tensor | slice]
    if tokens.device.type == "cpu":
        blocks = separation.isinf().any(dim=0).nonzero().squeeze(1).split(_ROWS)
    else:  # counting them would wait for the GPU
        blocks = [slice(start, start + _ROWS) for start in range(0, N, _ROWS)]
    for rows in blocks:
        later = rank.unsqueeze(1) >= rank[:, rows].unsqueeze(2)
        separation[:, rows] = squared[:, rows].masked_fill_(later, torch.inf).amin(dim=2)
    separation = separation.scatter_(1, densest, farthest) / C  # eq. 11
    separation.masked_fill_(copied, 0)

    score = separation.log() - spread  # log of density times separation
    centers = torch.argsort(score, dim=1, descending=True, stable=True)[:, :n_clusters]
    assignment = torch.zeros_like(order)
    best = torch.full_like(spread, torch.inf)
    for k in range(n_clusters):
        distance = (moved - _rows(moved, centers[:, k : k + 1])).square().sum(dim=2)
        closer = distance < best  # strictly: ties stay with the earlier centre
        assignment.masked_fill_(closer, k)
        best = torch.where(closer, distance, best)
    assignment.scatter_(1, centers, positions[:n_clusters].expand(S, n_clusters))
    return Clusters(assignment, centers, torch.exp(-spread), separation)


def _rows(x: Tensor, at: Tensor) -> Tensor:
    """Return the rows (S, K, C) at indices (S, K) of each (N, C) in a stack x (S, N, C)."""
    return x.gather(1, at.unsqueeze(2).expand(-1, -1, x.shape[2]))


def _first_copies(tokens: Tensor, norm: Tensor) -> Tensor:
    """Return for each of (S, N, C) tokens the first in its slide that equals it; `norm` (S, N) is equal where tokens are."""
    ordered, order = torch.sort(norm, dim=1, stable=True)
    equal = ordered[:, 1:] == ordered[:, :-1]
    if tokens.device.type == "cpu":
        slide, at = equal.nonzero(as_tuple=True)
        one, next_one = (tokens[slide, order[slide, place]] for place in (at, at + 1))
        equal[slide, at] = (one == next_one).all(dim=1)
    else:  # counting the few that are equally long would wait for the GPU
        rows = _rows(tokens, order)
        equal = (rows[:, 1:] == rows[:, :-1]).all(dim=2)
    start = torch.arange(order.shape[1], device=order.device).repeat(len(order), 1)  # of each run of copies
    start[:, 1:].masked_fill_(equal, 0)
    start = start.cummax(dim=1).values
    return torch.empty_like(order).scatter_(1, order, order.gather(1, start))


def _squared_distances(x: Tensor, norm: Tensor, *, out: Tensor) -> None:
    """Write |a - b|^2 of all pairs of rows of (S, N, C) with squared norms (S, N): symmetric, never negative, diagonal 0."""
    N = x.shape[1]
    norm = norm.unsqueeze(2)
    ones = torch.ones_like(norm)
    left, right = torch.cat([-2 * x, norm, ones], dim=2), torch.cat([x, ones, norm], dim=2).mT
    for start in range(0, N, _ROWS):  # half of the products; a block stays in the cache
        end = min(start + _ROWS, N)
        block = out[:, start:end, start:]
        torch.bmm(left[:, start:end], right[:, :, start:], out=block)
        square = block.clamp_(min=0)[:, :, : end - start]
        square.copy_(torch.minimum(square, square.mT))
        out[:, end:, start:end] = block[:, :, end - start :].mT
    out.diagonal(dim1=1, dim2=2).zero_()


def _smallest(squared: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` smallest of each row of (S, N, N), ascending, and their columns."""
    N = squared.shape[2]
    groups = N // _GROUP
    inside = groups * _GROUP
    if 2 * count > groups:
        return torch.topk(squared, count, dim=2, largest=False)
    values, columns = [], []
    for rows in squared.split(_ROWS, dim=1):
        # The smallest are among the groups with the smallest minima; a group is every `groups`-th column.
        apart = rows[..., :inside].unflatten(2, (_GROUP, groups))
        chosen = _lowest(apart.amin(dim=2), count)
        candidates = apart.gather(3, chosen.unsqueeze(2).expand(-1, -1, _GROUP, -1)).flatten(2)
        candidates = torch.cat([candidates, rows[..., inside:]], dim=2)
        place = _lowest(candidates, count)
        grouped = place // count * groups + chosen.gather(2, place % count)
        values.append(candidates.gather(2, place))
        columns.append(torch.where(place < count * _GROUP, grouped, place - count * _GROUP + inside))
    found, ascending = torch.cat(values, dim=1).sort(dim=2)
    return found, torch.cat(columns, dim=1).gather(2, ascending)


def _lowest(x: Tensor, count: int) -> Tensor:
    """Return where the `count` smallest of each row of (S, R, M) are, in any order."""
    if x.device.type == "cpu":  # numpy's selection is vectorised
        return torch.from_numpy(np.argpartition(x.numpy(), count - 1, axis=2)[..., :count])
    return torch.topk(x, count, dim=2, largest=False, sorted=False).indices


@torch.no_grad()
def refine_clusters(tokens: Tensor, assignment: Tensor, centers: Tensor, rounds: int) -> Tensor:
    """Assign each token to the nearest mean of a cluster, `rounds` times over (Lloyd's iterations).

    A density peak is one token with its own noise; the mean of its cluster is not.

    Parameters
    ----------
    tokens : Tensor
        (B, N, C).
    assignment, centers : Tensor
        (B, N) and (B, K) of :func:`dpc_knn`.
    rounds : int
        0 leaves the assignment as it is.

    Returns
    -------
    Tensor
        (B, N) assignment. A density peak stays in its cluster, so none is ever empty; the lower index wins a tie.
    """
    B, K = centers.shape
    tokens = at_least_float32(tokens)
    own = torch.arange(K, device=centers.device).expand(B, K)
    ones = torch.ones_like(tokens[..., 0])
    with torch.autocast(tokens.device.type, enabled=False):
        for _ in range(rounds):
            means = merge_tokens(tokens, assignment, ones, K)  # (B, K, C)
            # |t - m|^2 without the |t|^2 that all clusters share.
            distances = means.square().sum(dim=-1).unsqueeze(1) - 2 * tokens @ means.transpose(
                1, 2
            )  # (B, N, K)
            assignment = distances.argmin(dim=-1).scatter(1, centers, own)
    return assignment


def merge_tokens(tokens: Tensor, assignment: Tensor, weights: Tensor, n_clusters: int) -> Tensor:
    """Merge each cluster into the weighted mean of its tokens (eq. 12).

    Parameters
    ----------
    tokens : Tensor
        (B, N, C).
    assignment : Tensor
        (B, N) integers in [0, K).
    weights : Tensor
        (B, N) or (B, N, 1), positive significance of each token; only ratios within a cluster matter.
    n_clusters : int
        K.

    Returns
    -------
    Tensor
        (B, K, C), of the tokens' type; zeros for a cluster without tokens (or whose weights are all 0). Differentiable in
        tokens and weights.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    RuntimeError
        If an assignment is outside [0, K).
    """
    if tokens.ndim != 3 or assignment.shape != tokens.shape[:2] or weights.numel() != assignment.numel():
        raise ValueError(
            "tokens (B, N, C), assignment (B, N) and weights (B, N) do not fit: "
            f"{tuple(tokens.shape)}, {tuple(assignment.shape)}, {tuple(weights.shape)}"
        )
    if not tokens.is_floating_point():
        tokens = tokens.float()
    B, N, _ = tokens.shape
    members = tokens.new_zeros(B, N, n_clusters).scatter_(2, assignment.long().unsqueeze(2), 1)
    shares = members * weights.reshape(B, N, 1).to(tokens.dtype)
    total = shares.sum(dim=1, keepdim=True)  # (B, 1, K)
    shares = shares / torch.where(total > 0, total, torch.ones_like(total))
    return shares.transpose(1, 2) @ tokens
