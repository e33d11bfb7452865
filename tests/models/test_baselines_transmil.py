"""TransMIL's pieces against exact computations."""

from __future__ import annotations

import baseline_inputs as small_cohort
import pytest
import torch

from pathduet.models.baselines.nystroem_attention import NystroemAttention, nystroem_attention, pseudoinverse
from pathduet.models.baselines.transmil import Ppeg, TransMilBody, TransMilConfig, square_padding


def exact(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("bhqd,bhkd->bhqk", queries, keys) / queries.shape[-1] ** 0.5
    weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    return torch.einsum("bhqk,bhkd->bhqd", weights, values)


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_with_as_many_landmarks_as_tokens_it_is_exact_attention() -> None:
    q, k, v = (tokens(2, 3, 12, 4, seed=i) for i in range(3))
    found = nystroem_attention(q, k, v, landmarks=12, iterations=40)
    assert torch.allclose(found, exact(q, k, v), atol=1e-8)


def test_more_landmarks_than_tokens_are_as_many_as_tokens() -> None:
    q, k, v = (tokens(1, 2, 5, 4, seed=i) for i in range(3))
    assert torch.equal(nystroem_attention(q, k, v, 99, 6), nystroem_attention(q, k, v, 5, 6))


def test_smooth_sequences_are_met_better_with_more_landmarks() -> None:
    steps = torch.linspace(0, 6, 60, dtype=torch.float64)[:, None] * torch.arange(1, 5)
    q = k = steps.sin()[None, None]
    v = steps.cos()[None, None]
    truth = exact(q, k, v)
    errors = [float((nystroem_attention(q, k, v, m, 20) - truth).abs().mean()) for m in (2, 10, 30)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_the_iteration_converges_to_the_moore_penrose_inverse() -> None:
    matrix = tokens(3, 6, 6).softmax(dim=-1)
    assert torch.allclose(pseudoinverse(matrix, 40), torch.linalg.pinv(matrix), atol=1e-8)
    # Six steps, as in the paper, are enough where the attention is not nearly singular.
    tame = torch.eye(6, dtype=torch.float64) * 0.6 + matrix * 0.4
    assert torch.allclose(pseudoinverse(tame, 6), torch.linalg.inv(tame), atol=1e-4)


def test_a_neighbour_in_the_batch_changes_nothing() -> None:
    torch.manual_seed(0)
    layer = NystroemAttention(8, 2, 4, landmarks=3, iterations=2).double().eval()
    calm, wild = tokens(1, 20, 8), 50 * tokens(1, 20, 8, seed=1)
    together = layer(torch.cat([calm, wild]))[:1]
    assert torch.allclose(together, layer(calm), atol=1e-10)


@pytest.mark.parametrize("count,side", [(1, 1), (4, 2), (5, 3), (72, 9), (2500, 50), (5000, 71)])
def test_square_padding_repeats_the_beginning(count: int, side: int) -> None:
    sequence = torch.arange(count, dtype=torch.float32)[None, :, None]
    padded = square_padding(sequence)
    assert padded.shape == (1, side * side, 1)
    assert torch.equal(padded[:, :count], sequence)
    assert torch.equal(padded[:, count:], sequence[:, : side * side - count])


def test_ppeg_is_the_map_plus_three_convolutions_and_leaves_the_class_token_alone() -> None:
    torch.manual_seed(0)
    block, sequence = Ppeg(3).double(), tokens(2, 1 + 16, 3)
    found = block(sequence)
    assert torch.equal(found[:, 0], sequence[:, 0])
    grid = sequence[:, 1:].reshape(2, 4, 4, 3)
    for y, x, channel in ((0, 0, 0), (2, 1, 2), (3, 3, 1)):
        expected = grid[:, y, x, channel].clone()
        for convolution in block.pyramid:
            half = convolution.kernel_size[0] // 2
            expected = expected + convolution.bias[channel]
            for dy in range(-half, half + 1):
                for dx in range(-half, half + 1):
                    if 0 <= y + dy < 4 and 0 <= x + dx < 4:
                        weight = convolution.weight[channel, 0, dy + half, dx + half]
                        expected = expected + weight * grid[:, y + dy, x + dx, channel]
        assert torch.allclose(found[:, 1 + 4 * y + x, channel], expected)


def test_two_magnifications_are_two_maps() -> None:
    torch.manual_seed(0)
    block, both = Ppeg(3).double(), tokens(2, 1 + 2 * 16, 3)
    found = block(both, maps=2)
    for start in (1, 17):
        alone = block(torch.cat([both[:, :1], both[:, start : start + 16]], dim=1))
        assert torch.equal(found[:, start : start + 16], alone[:, 1:])
    body = TransMilBody(TransMilConfig(width=16, heads=2, head_dim=8, landmarks=4)).eval()
    assert body(tokens(2, 22, 16).float(), maps=2)[1].shape == (2, 2 * 16, 16), "11 tokens each, padded to 16"


def test_the_body_returns_its_class_token_and_every_cell_of_the_square() -> None:
    body = TransMilBody(TransMilConfig(width=16, heads=2, head_dim=8, landmarks=4)).eval()
    first, rest = body(tokens(2, 11, 16).float())
    assert first.shape == (2, 16) and rest.shape == (2, 16, 16)


def test_a_slide_of_five_thousand_tokens_passes() -> None:
    model = small_cohort.small("transmil").eval()
    with torch.no_grad():
        answer = model(small_cohort.batch(1, tokens=2500))
    assert torch.isfinite(answer.logits).all()
