"""Clusters moved from density peaks to their means, and tokens that start along the features' principal axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from pathduet.models import dpc_knn
from pathduet.models.method.dpc_knn import refine_clusters
from pathduet.models.method.patch_tokens import PatchTokens
from pathduet.training.dataset import principal_axes


def groups(seed: int, n: int = 60, width: int = 8, apart: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, n, width, generator=generator)
    tokens[:, : n // 3, 0] += apart
    return tokens


def within(tokens: torch.Tensor, assignment: torch.Tensor) -> float:
    """Return the sum of squared distances to the cluster means."""
    parts = [tokens[0][assignment[0] == k] for k in range(2)]
    return float(sum((part - part.mean(dim=0)).square().sum() for part in parts))


def test_no_round_leaves_the_assignment_alone() -> None:
    tokens = groups(0)
    found = dpc_knn(tokens, 2)
    assert torch.equal(refine_clusters(tokens, found.assignment, found.centers, 0), found.assignment)


@pytest.mark.parametrize("seed", range(6))
def test_rounds_are_lloyds_iterations(seed: int) -> None:
    """scikit-learn's k-means from the same start ends at the same clusters, but for the peaks, which stay."""
    tokens = groups(seed)
    found = dpc_knn(tokens, 2)
    refined = refine_clusters(tokens, found.assignment, found.centers, 100)[0].numpy()
    x = tokens[0].numpy().astype(np.float64)
    start = np.stack([x[found.assignment[0].numpy() == k].mean(axis=0) for k in range(2)])
    expected = KMeans(2, init=start, n_init=1, tol=0, max_iter=100).fit(x).labels_
    others = np.setdiff1d(np.arange(60), found.centers[0].numpy())
    assert (refined[others] == expected[others]).mean() > 0.95
    assert within(tokens, torch.from_numpy(refined)[None]) <= within(tokens, found.assignment)


def test_clusters_are_the_same_under_bfloat16() -> None:
    tokens = torch.nn.functional.layer_norm(torch.randn(2, 400, 32), (32,))
    found = dpc_knn(tokens, 2)
    refined = refine_clusters(tokens, found.assignment, found.centers, 5)
    with torch.autocast("cpu", torch.bfloat16):
        again = dpc_knn(tokens, 2)
        assert torch.equal(refine_clusters(tokens, again.assignment, again.centers, 5), refined)
    assert all(map(torch.equal, found, again))


def test_peaks_stay_and_no_cluster_is_empty_even_where_all_tokens_are_equal() -> None:
    tokens = torch.ones(2, 9, 4)
    found = dpc_knn(tokens, 2)
    refined = refine_clusters(tokens, found.assignment, found.centers, 5)
    assert torch.equal(refined.gather(1, found.centers), torch.tensor([[0, 1], [0, 1]]))


def test_a_slide_is_refined_alike_alone_and_in_a_batch() -> None:
    tokens = torch.cat([groups(1), groups(2)])
    together, alone = dpc_knn(tokens, 2), dpc_knn(tokens[1:], 2)
    batch = refine_clusters(tokens, together.assignment, together.centers, 5)
    assert torch.equal(batch[1:], refine_clusters(tokens[1:], alone.assignment, alone.centers, 5))


def test_principal_axes_are_those_of_a_singular_value_decomposition() -> None:
    x = torch.randn(200, 6, dtype=torch.float64) * torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.0])
    axes = principal_axes(x.T @ x, 10)
    _, _, expected = np.linalg.svd(x.numpy(), full_matrices=False)
    assert axes.shape == (5, 6)  # the constant direction is no axis
    assert np.allclose(np.abs((axes.double().numpy() * expected[:5]).sum(axis=1)), 1, atol=1e-5)
    assert (axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)) > 0).all()
    assert torch.equal(principal_axes(x.T @ x, 2), axes[:2])


@pytest.mark.parametrize("k", [3, 20])
def test_aligned_tokens_keep_both_sides_of_each_axis(k: int) -> None:
    """Before the normalisation, a pair of channels is the positive and the negative part of a projection."""
    block = PatchTokens(12, 8)
    block.norm = torch.nn.Identity()  # type: ignore[assignment]
    x = torch.randn(2, 5, 12)
    axes = torch.linalg.qr(torch.randn(12, 12)).Q[:k]
    block.standardise(torch.full((12,), 0.5), torch.full((12,), 2.0))
    block.align(axes)
    pairs = min(k, len(axes), 4)
    found = block(x)
    assert torch.allclose(
        found[..., :pairs] - found[..., pairs : 2 * pairs], (x - 0.5) / 2 @ axes[:pairs].T, atol=1e-5
    )
