"""Properties over many sizes, and the memory that clustering takes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pathduet.models import (
    MAGNIFICATIONS,
    DeformableAttention,
    ModelConfig,
    Student,
    Teacher,
    TokenAggregation,
    dpc_knn,
    merge_tokens,
)

SIDES, GROUPS = st.integers(2, 7), st.sampled_from([1, 2, 4])


def config(side: int, groups: int, stride: int) -> ModelConfig:
    return ModelConfig(
        tokens=side**2, width=8, heads=2, head_dim=4, offset_groups=groups, offset_kernel=stride + 1, stride=stride
    )  # fmt: skip


@given(st.integers(1, 3), SIDES, st.integers(1, 6), GROUPS, st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_deformable_attention_of_any_size(
    B: int, side: int, queries: int, groups: int, stride: int, seed: int
) -> None:
    torch.manual_seed(seed)
    sizes = config(side, groups, min(stride, side))
    block = DeformableAttention(sizes).eval()
    found = block(torch.randn(B, queries**2, 8) * 3, torch.randn(B, side**2, 8) * 3, need_attention=True)
    points = side // sizes.stride
    assert found.tokens.shape == (B, queries**2, 8)
    assert found.attention.shape == (B, 2, queries**2, points**2)
    assert (found.attention >= 0).all() and torch.allclose(found.attention.sum(-1), torch.ones(()), atol=1e-5)
    assert found.offsets.shape == (B, groups, points, points, 2)
    assert found.offsets.abs().max() <= sizes.offset_range_points * side / points


@given(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_teacher_and_student_of_any_size(B: int, tumor: int, tme: int, outputs: int, seed: int) -> None:
    torch.manual_seed(seed)
    sizes = config(4, 2, 2)
    patches = torch.randn(B, 16, 6), torch.randn(B, 16, 6)
    counts = {"tumor": tumor, "tme": tme}
    genes = {name: torch.randn(B, count) for name, count in counts.items()}
    teacher = Teacher(sizes, 6, counts, outputs)(*patches, genes)
    student = Student(sizes, 6, outputs)(*patches)
    for m in MAGNIFICATIONS:
        for output in (teacher, student):
            assert output.logits[m].shape == (B, outputs) and output.representation[m].shape == (B, 16)
            assert torch.isfinite(output.logits[m]).all() and output.representation[m].abs().max() <= 1
        assert set(teacher.branches[m]) == set(counts)
        assert student.aggregation[m].assignment.shape == (B, 16)


@given(st.integers(1, 3), st.integers(1, 20), st.integers(1, 4), st.integers(1, 3), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_merged_tokens_lie_between_their_members(B: int, N: int, C: int, K: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(B, N, C, generator=generator, dtype=torch.float64)
    assignment = torch.randint(0, K, (B, N), generator=generator)
    merged = merge_tokens(tokens, assignment, torch.rand(B, N, generator=generator) + 0.01, K)
    assert merged.shape == (B, K, C)
    for b in range(B):
        for k in range(K):
            members = tokens[b, assignment[b] == k]
            if len(members):
                assert (merged[b, k] >= members.amin(0) - 1e-9).all()
                assert (merged[b, k] <= members.amax(0) + 1e-9).all()
            else:
                assert not merged[b, k].any()


def test_offsets_and_attention_differ_across_gene_tokens() -> None:
    # With one vector repeated at all positions, as in the public code, both would be constant.
    torch.manual_seed(0)
    sizes = config(6, 2, 2)
    teacher = Teacher(sizes, 6, dict.fromkeys(sizes.subspaces, 30), 4).eval()
    genes = dict.fromkeys(sizes.subspaces, torch.randn(2, 30))
    output = teacher(torch.randn(2, 36, 6), torch.randn(2, 36, 6), genes)
    for branches in output.branches.values():
        for branch in branches.values():
            inner = branch.offsets[:, :, 1:2, 1:2]  # away from the border
            assert (branch.offsets - inner).abs().flatten(1).max(dim=1).values.min() > 1e-3
            assert branch.attention[:, :, :30].std(dim=2).max() > 1e-3


def test_informative_tokens_pass_gradcheck() -> None:
    torch.manual_seed(0)
    block = TokenAggregation(config(3, 2, 2)).double().eval()
    patches = torch.randn(1, 9, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: block(x).prototypes, (patches,))


MEASURE = """
import torch
torch.set_num_threads(1)
from pathduet.models import dpc_knn
from pathduet.core.hardware import peak_memory_mib
tokens = torch.randn(1, 10_000, 128, generator=torch.Generator().manual_seed(0))
found = dpc_knn(tokens, 2)
assert found.assignment.shape == (1, 10_000)
print(peak_memory_mib())
"""


@pytest.mark.slow
def test_ten_thousand_tokens_fit_in_two_gigabytes() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert float(done.stdout) * 2**20 < 2e9, "the whole process, torch included"


def test_clusters_of_identical_slides_are_identical() -> None:
    tokens = torch.randn(1, 30, 8).expand(3, -1, -1)
    found = dpc_knn(tokens, 2)
    for part in found:
        assert torch.equal(part[0], part[1]) and torch.equal(part[0], part[2])
