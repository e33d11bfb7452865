"""DPC-KNN clustering of tokens and weighted merging of each cluster: equations 10 to 12 of the paper.

Density peak clustering with K nearest neighbours (Du, Ding and Jia, Knowledge-Based Systems 2016). Squared
distances are divided by the width, so that densities do not depend on it, and ties are broken by index.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pathduet.models.precision import at_least_float32


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
        (B, N, C). Half precision and whole numbers are computed with as float32.
    n_clusters : int
        K, between 1 and N.
    n_neighbors : int or Tensor
        Nearest neighbours in the density, the token itself included; one number, or (B,) one per slide (where
        tokens are repeated, a token's own copies use up neighbours). More than N counts as N.

    Returns
    -------
    Clusters
        Of tokens with equal density the one with the lower index counts as the denser; of equal scores or
        distances the lower index wins. No gradient flows through any of it.

    Raises
    ------
    ValueError
        If `tokens` has another number of dimensions, or K or the number of neighbours is impossible.

    Notes
    -----
    Slides are done one after the other with one N x N matrix: memory does not grow with B or C. Ties are exact for
    copies of a token and for tokens of small whole numbers. Densities are compared by their exponents, so
    that tokens far apart are told apart where the density itself is 0 in floating point.

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
    clusters = Clusters(
        torch.empty(B, N, dtype=torch.int64, device=tokens.device),
        torch.empty(B, n_clusters, dtype=torch.int64, device=tokens.device),
        torch.empty(B, N, dtype=tokens.dtype, device=tokens.device),
        torch.empty(B, N, dtype=tokens.dtype, device=tokens.device),
    )
    # Distances between neighbours are lost in bfloat16.
    with torch.autocast(tokens.device.type, enabled=False):
        for b in range(B):
            found = _cluster_slide(tokens[b], n_clusters, min(neighbors[b], N))
            for whole, part in zip(clusters, found, strict=True):
                whole[b] = part
    return clusters


def _cluster_slide(tokens: Tensor, n_clusters: int, n_neighbors: int) -> Clusters:
    # Rounding of |a|^2 + |b|^2 - 2ab grows with |a|: centre first, on a token, so that whole numbers stay whole.
    middle = (tokens - tokens.mean(dim=0)).square().sum(dim=1).argmin()
    moved = tokens - tokens[middle]
    norm, C = moved.square().sum(dim=1), tokens.shape[1]
    squared = _squared_distances(moved, norm)  # (N, N), times the width
    # What tells copies of a token apart is rounding.
    first = _first_copies(moved, norm)
    copied = first != torch.arange(len(first), device=first.device)
    if bool(copied.any()):
        squared.masked_fill_(first.unsqueeze(0) == first.unsqueeze(1), 0)
    nearest, at = torch.topk(squared, n_neighbors, dim=1, largest=False, sorted=False)
    # The same both ways: where two tokens are each other's nearest, their densities tie.
    nearest = torch.minimum(nearest, squared[at, torch.arange(len(at), device=at.device).unsqueeze(1)])
    # Minus the exponent of eq. 10.
    spread = (nearest.sum(dim=1) / (n_neighbors * C))[first]

    # From the densest down; a stable sort puts the lower index first among equals.
    order = torch.argsort(spread, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    not_denser = rank.unsqueeze(0) >= rank.unsqueeze(1)  # (N, N): token j is not denser than token i
    farthest = squared[order[0]].max()
    separation = squared.masked_fill_(not_denser, torch.inf).amin(dim=1)  # in place: 25 MB at 2,500 tokens
    separation[order[0]] = farthest
    separation /= C  # eq. 11
    separation[copied] = 0

    score = separation.log() - spread  # log of density times separation
    centers = torch.argsort(score, descending=True, stable=True)[:n_clusters]
    assignment = torch.zeros_like(order)
    best = torch.full_like(spread, torch.inf)
    for k, center in enumerate(centers):
        distance = (moved - moved[center]).square().sum(dim=1)
        closer = distance < best  # strictly: ties stay with the earlier centre
        assignment[closer] = k
        best = torch.where(closer, distance, best)
    assignment[centers] = torch.arange(n_clusters, device=centers.device)
    return Clusters(assignment, centers, torch.exp(-spread), separation)


def _first_copies(tokens: Tensor, norm: Tensor) -> Tensor:
    """Return for each of (N, C) tokens the first that equals it; `norm` (N,) is equal where tokens are."""
    order = torch.argsort(norm, stable=True)
    ordered = tokens[order]
    new = torch.ones_like(order, dtype=torch.bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(dim=1)
    first = torch.empty_like(order)
    first[order] = order[new][new.cumsum(dim=0) - 1]
    return first


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


def _squared_distances(x: Tensor, norm: Tensor) -> Tensor:
    """Return |a - b|^2 for all pairs of rows of (N, C) with squared norms (N,): never negative, diagonal 0."""
    squared = norm.unsqueeze(1) + norm
    return squared.addmm_(x, x.T, alpha=-2).clamp_(min=0).fill_diagonal_(0)


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
    members = torch.nn.functional.one_hot(assignment.long(), n_clusters).to(tokens.dtype)  # (B, N, K)
    shares = members * weights.reshape(B, N, 1).to(tokens.dtype)
    total = shares.sum(dim=1, keepdim=True)  # (B, 1, K)
    shares = shares / torch.where(total > 0, total, torch.ones_like(total))
    return shares.transpose(1, 2) @ tokens
