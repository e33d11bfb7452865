"""DPC-KNN and merging against scikit-learn's distances and a plain-Python reading of eq. 10-12."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from torch.profiler import ProfilerActivity, profile

from pathduet.models import dpc_knn, merge_tokens
from pathduet.models.method.dpc_knn import _cluster_slides


def reference(tokens: torch.Tensor, n_clusters: int, n_neighbors: int) -> tuple[list, list, list, list]:
    """Eq. 10 and 11 for one slide, loop by loop."""
    squared = pairwise_distances(tokens.numpy(), metric="sqeuclidean") / tokens.shape[1]
    n = len(squared)
    density = [math.exp(-sum(sorted(squared[i])[:n_neighbors]) / n_neighbors) for i in range(n)]
    separation = []
    for i in range(n):
        denser = [j for j in range(n) if (density[j], -j) > (density[i], -i)]
        separation.append(min(squared[i][j] for j in denser) if denser else max(squared[i]))
    score = [density[i] * separation[i] for i in range(n)]
    centers = sorted(range(n), key=lambda i: (-score[i], i))[:n_clusters]
    assignment = [min(range(n_clusters), key=lambda k: (squared[i][centers[k]], k)) for i in range(n)]
    for k, center in enumerate(centers):
        assignment[center] = k
    return assignment, centers, density, separation


@pytest.mark.parametrize(("n_clusters", "n_neighbors"), [(1, 1), (2, 5), (3, 4), (5, 9)])
def test_equals_the_equations_written_out_in_plain_python(n_clusters: int, n_neighbors: int) -> None:
    tokens = torch.randn(3, 40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(n_clusters))
    found = dpc_knn(tokens, n_clusters, n_neighbors)
    for b in range(3):
        assignment, centers, density, separation = reference(tokens[b], n_clusters, n_neighbors)
        assert found.assignment[b].tolist() == assignment
        assert found.centers[b].tolist() == centers
        assert found.density[b].tolist() == pytest.approx(density, rel=1e-9)
        assert found.separation[b].tolist() == pytest.approx(separation, rel=1e-9)


def test_three_points_on_a_line_by_hand() -> None:
    # Width 1; positions 0, 1, 4. With two neighbours (self included): densities exp(-1/2), exp(-1/2), exp(-9/2).
    found = dpc_knn(torch.tensor([[[0.0], [1.0], [4.0]]]), 2, 2)
    assert found.density[0].tolist() == pytest.approx(
        [math.exp(-0.5), math.exp(-0.5), math.exp(-4.5)], rel=1e-5
    )
    # Token 0 ties with 1 and wins by its index: its separation is the largest distance, 16.
    assert found.separation[0].tolist() == pytest.approx([16, 1, 9], rel=1e-5)
    assert found.centers[0].tolist() == [0, 1]
    assert found.assignment[0].tolist() == [0, 1, 1]


def test_squared_distances_are_divided_by_the_width() -> None:
    tokens = torch.randn(1, 20, 3, dtype=torch.float64)
    doubled = torch.cat([tokens, tokens], dim=2)
    assert torch.allclose(dpc_knn(tokens, 2).density, dpc_knn(doubled, 2).density)


@given(
    st.integers(1, 3),
    st.integers(2, 30),
    st.integers(1, 5),
    st.integers(1, 30),
    st.integers(1, 40),
    st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_shapes_ranges_and_centers(B: int, N: int, C: int, K: int, neighbors: int, seed: int) -> None:
    K = min(K, N)
    # Whole numbers from a small range: many ties and copies.
    tokens = torch.randint(0, 3, (B, N, C), generator=torch.Generator().manual_seed(seed)).float()
    found = dpc_knn(tokens, K, neighbors)
    assert found.assignment.shape == (B, N) and found.centers.shape == (B, K)
    assert found.density.shape == found.separation.shape == (B, N)
    assert ((found.density > 0) & (found.density <= 1)).all() and (found.separation >= 0).all()
    assert torch.isfinite(found.separation).all()
    own = found.assignment.gather(1, found.centers)
    assert (own == torch.arange(K)).all(), "a centre belongs to itself"
    assert all(len(set(row)) == K for row in found.centers.tolist()), "centres are distinct"
    # Every other token is in its nearest centre's cluster.
    distance = torch.cdist(tokens, tokens.gather(1, found.centers.unsqueeze(-1).expand(B, K, C)))
    chosen = distance.gather(2, found.assignment.unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(chosen, distance.amin(dim=2), atol=1e-4)


def test_ties_are_broken_by_index_every_time() -> None:
    tokens = torch.zeros(2, 12, 4)
    tokens[1, 6:] = 1.0
    first = dpc_knn(tokens, 2)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, dpc_knn(tokens, 2), strict=True))
    assert first.centers.tolist() == [[0, 1], [0, 6]]
    assert first.assignment[0].tolist() == [0, 1] + [0] * 10
    assert first.assignment[1].tolist() == [0] * 6 + [1] * 6


def exact(tokens: list[list[int]], n_clusters: int, n_neighbors: int) -> tuple[list[int], list[int]]:
    """Centres and assignment of whole-number tokens in exact arithmetic: ties are ties."""
    n, C = len(tokens), len(tokens[0])
    squared = [
        [Fraction(sum((a - b) ** 2 for a, b in zip(x, y, strict=True)), C) for y in tokens] for x in tokens
    ]
    spread = [sum(sorted(row)[:n_neighbors]) / min(n_neighbors, n) for row in squared]
    separation = []
    for i in range(n):
        denser = [j for j in range(n) if (spread[j], j) < (spread[i], i)]
        separation.append(min(squared[i][j] for j in denser) if denser else max(squared[i]))
    # Logarithms of the scores, rounded so that equal ones tie; those of separation 0 come last.
    score = [math.log(x) - float(s) if x else -math.inf for x, s in zip(separation, spread, strict=True)]
    centers = sorted(range(n), key=lambda i: (-round(score[i], 9) if score[i] > -math.inf else math.inf, i))
    centers = centers[:n_clusters]
    assignment = [min(range(n_clusters), key=lambda k: (squared[i][centers[k]], k)) for i in range(n)]
    for k, center in enumerate(centers):
        assignment[center] = k
    return centers, assignment


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
@given(st.integers(2, 40), st.integers(1, 6), st.integers(1, 4), st.integers(1, 8), st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_ties_of_whole_numbers_are_broken_as_in_exact_arithmetic(
    dtype: torch.dtype, N: int, C: int, K: int, neighbors: int, seed: int
) -> None:
    K = min(K, N)
    tokens = torch.randint(-2, 3, (1, N, C), generator=torch.Generator().manual_seed(seed))
    found = dpc_knn(tokens.to(dtype), K, neighbors)
    centers, assignment = exact(tokens[0].tolist(), K, neighbors)
    assert found.centers[0].tolist() == centers
    assert found.assignment[0].tolist() == assignment


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(4))
def test_of_copies_the_first_is_the_denser_and_the_others_are_never_centres(
    copies: int, dtype: torch.dtype, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, 37, 13, generator=generator, dtype=dtype).repeat(1, copies, 1) + 3
    tokens = tokens[:, torch.randperm(37 * copies, generator=generator)]
    found = dpc_knn(tokens, 4)
    equal = (tokens[0].unsqueeze(0) == tokens[0].unsqueeze(1)).all(dim=2)
    first = equal.int().argmax(dim=1)
    assert torch.equal(found.density[0], found.density[0][first])
    later = first != torch.arange(len(first))
    assert (found.separation[0][later] == 0).all() and (found.separation[0][~later] > 0).all()
    assert not later[found.centers[0]].any()
    assert torch.equal(found.assignment[0], found.assignment[0][first])


def test_tokens_so_far_apart_that_their_density_is_zero_are_still_told_apart() -> None:
    tokens = torch.randn(1, 40, 8, generator=torch.Generator().manual_seed(0))
    near, far = dpc_knn(tokens, 3), dpc_knn(tokens * 100, 3)
    assert (far.density == 0).all(), "no such token: nothing was tested"
    order = near.density[0].argsort(descending=True)
    assert far.separation[0].argmax() == near.separation[0].argmax() == order[0]
    assert far.centers[0, 0] == order[0] or far.centers[0].unique().numel() == 3
    assert torch.allclose(far.separation, near.separation * 1e4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    tokens = (torch.randn(2, 30, 64) * 40).to(dtype)  # squared distances beyond the range of float16
    found, expected = dpc_knn(tokens, 2), dpc_knn(tokens.float(), 2)
    assert all(map(torch.equal, found, expected)) and torch.isfinite(found.separation).all()


def test_no_slide_is_no_error_and_a_single_matrix_is_one() -> None:
    assert [tuple(part.shape) for part in dpc_knn(torch.randn(0, 12, 4), 2)] == [
        (0, 12),
        (0, 2),
        (0, 12),
        (0, 12),
    ]
    with pytest.raises(ValueError, match=r"\(B, N, C\)"):
        dpc_knn(torch.randn(12, 4), 2)


def test_slides_do_not_influence_each_other() -> None:
    tokens = torch.randn(4, 25, 8)
    order = torch.tensor([2, 0, 3, 1])
    whole, permuted = dpc_knn(tokens, 2), dpc_knn(tokens[order], 2)
    assert torch.equal(whole.assignment[order], permuted.assignment)
    assert torch.equal(whole.centers[order], permuted.centers)


def test_neighbours_can_differ_between_slides() -> None:
    tokens = torch.randn(2, 25, 8)
    both = dpc_knn(tokens, 2, torch.tensor([3, 7]))
    for b, k in enumerate((3, 7)):
        assert torch.equal(both.density[b], dpc_knn(tokens[b : b + 1], 2, k).density[0])


def test_copies_with_as_many_more_neighbours_keep_the_centres() -> None:
    tokens = torch.randn(1, 20, 8, dtype=torch.float64)
    once, thrice = dpc_knn(tokens, 2, 4), dpc_knn(tokens.repeat(1, 3, 1), 2, 12)
    assert torch.equal(once.centers, thrice.centers % 20)
    assert torch.equal(once.assignment.repeat(1, 3), thrice.assignment)


def test_no_gradient_and_no_temporary_of_all_pairs_times_width() -> None:
    tokens = torch.randn(2, 100, 64, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        found = dpc_knn(tokens, 2)
    assert not found.density.requires_grad
    largest = max(event.self_cpu_memory_usage for event in recorded.events())
    assert largest < 100 * 100 * 64 * 4 / 4, "one slide's matrix of pairs, and nothing of its size times C"


@pytest.mark.parametrize(("n_clusters", "n_neighbors"), [(0, 5), (4, 5), (2, 0)])
def test_impossible_numbers_are_refused(n_clusters: int, n_neighbors: int) -> None:
    with pytest.raises(ValueError, match=r"clusters|neighbors"):
        dpc_knn(torch.randn(1, 3, 2), n_clusters, n_neighbors)


def test_merging_by_hand() -> None:
    tokens = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 8.0]]])
    merged = merge_tokens(tokens, torch.tensor([[0, 0, 1]]), torch.tensor([[1.0, 3.0, 7.0]]), 2)
    assert merged.tolist() == [[[2.5, 0.0], [0.0, 8.0]]]


def test_merging_depends_on_ratios_within_a_cluster_only() -> None:
    tokens, weights = torch.randn(2, 12, 3), torch.rand(2, 12) + 0.1
    assignment = torch.arange(12).expand(2, 12) % 3
    scaled = weights * torch.tensor([1.0, 10.0, 0.01])[assignment]
    merged = merge_tokens(tokens, assignment, weights, 3)
    assert torch.allclose(merged, merge_tokens(tokens, assignment, scaled, 3), atol=1e-5)
    assert torch.allclose(merged, merge_tokens(tokens, assignment, weights.unsqueeze(-1), 3))


def test_moving_tokens_around_within_clusters_changes_nothing() -> None:
    tokens, weights = torch.randn(1, 10, 3), torch.rand(1, 10) + 0.1
    assignment = torch.tensor([[0, 1, 0, 1, 1, 0, 0, 1, 0, 1]])
    order = torch.randperm(10)
    merged = merge_tokens(tokens[:, order], assignment[:, order], weights[:, order], 2)
    assert torch.allclose(merged, merge_tokens(tokens, assignment, weights, 2), atol=1e-6)


def test_an_empty_cluster_is_zero() -> None:
    merged = merge_tokens(torch.randn(1, 4, 3), torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4), 2)
    assert merged[0, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", [torch.int32, torch.uint8])
def test_merging_takes_any_whole_numbers_and_refuses_other_shapes(kind: torch.dtype) -> None:
    tokens, weights = torch.randn(1, 4, 3), torch.ones(1, 4)
    assignment = torch.tensor([[0, 1, 1, 0]])
    assert torch.equal(
        merge_tokens(tokens, assignment.to(kind), weights, 2), merge_tokens(tokens, assignment, weights, 2)
    )
    for bad in (
        (tokens[0], assignment, weights),
        (tokens, assignment[:, :3], weights),
        (tokens, assignment, weights[:, :3]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            merge_tokens(*bad, 2)


def test_merging_passes_gradcheck() -> None:
    tokens = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    weights = (torch.rand(2, 7, dtype=torch.float64) + 0.5).requires_grad_()
    assignment = torch.tensor([[0, 1, 0, 1, 1, 0, 0], [1, 1, 0, 1, 1, 1, 1]])
    assert torch.autograd.gradcheck(lambda t, w: merge_tokens(t, assignment, w, 2), (tokens, weights))


@pytest.mark.parametrize("N", [260, 400])
def test_many_tokens_are_clustered_as_the_equations_say(N: int) -> None:
    """Blocks of rows and groups of columns change nothing; distances of whole numbers are exact and many tie."""
    K, k = 3, 5
    tokens = torch.randint(-4, 5, (2, N, 5), generator=torch.Generator().manual_seed(N)).float()
    found = dpc_knn(tokens, K, k)
    for b, x in enumerate(tokens.double()):
        distance = (x.unsqueeze(1) - x).square().sum(dim=2)
        spread = distance.sort(dim=1).values[:, :k].sum(dim=1)
        rank = torch.argsort(torch.argsort(spread, stable=True))
        separation = distance.masked_fill(rank >= rank.unsqueeze(1), torch.inf).amin(dim=1)
        densest = int(rank.argmin())
        separation[densest] = distance[densest].max()
        assert torch.equal(found.separation[b], separation.float() / 5)
        score = (separation / 5).log() - spread / (k * 5)
        centers = torch.argsort(score, descending=True, stable=True)[:K]
        assert torch.allclose(score[found.centers[b]], score[centers], atol=1e-6)
        nearest = distance[:, found.centers[b]]
        chosen = nearest.gather(1, found.assignment[b].unsqueeze(1)).squeeze(1)
        assert torch.equal(chosen, nearest.amin(dim=1))


def test_slides_together_are_clustered_as_each_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens, neighbors = torch.randn(3, 300, 8, generator=generator), [5, 4, 7]
    tokens[1, 100:] = tokens[1, :100].repeat(2, 1)
    together = _cluster_slides(tokens, 2, neighbors, torch.empty(3, 300, 300))
    alone = dpc_knn(tokens, 2, torch.tensor(neighbors))
    assert torch.equal(together.assignment, alone.assignment) and torch.equal(together.centers, alone.centers)
    assert torch.allclose(together.density, alone.density)
