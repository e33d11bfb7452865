"""A network's results at each cell of its token maps, for one slide."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathduet.explain.sampled_points import Sampling
from pathduet.models.method.deformable_attention import reference_points
from pathduet.models.method.student import Student
from pathduet.models.method.teacher import Teacher
from pathduet.models.released import BiasedDeformableAttention
from pathduet.training.dataset import Batch
from pathduet.training.objectives import student_inputs, teacher_inputs


@dataclass(frozen=True)
class TokenMaps:
    """One magnification of one slide; N cells of the token map, row by row.

    Attributes
    ----------
    prototype : (N,) int array or None
        For a student: index of the subspace that the slide's order assigns to the cell's prototype.
    weight : (N,) array or None
        For a student: the cell's share in its prototype (eq. 12); adds up to 1 over each prototype's cells.
    samplings : dict
        Attention to the patches by name: the subspaces' for a teacher, ``patches`` for a student. Plain attention has one
        point per cell.
    """

    prototype: NDArray[np.int64] | None = None
    weight: NDArray[np.float64] | None = None
    samplings: dict[str, Sampling] = field(default_factory=dict)


@torch.no_grad()
def token_maps(network: Teacher | Student, batch: Batch, attention: bool = True) -> dict[str, TokenMaps]:
    """Return the token maps of the only slide of `batch`, by magnification; a student's `attention` only if wanted."""
    if isinstance(network, Teacher):
        return _teacher(network, batch)
    return _student(network, batch, attention)


def _teacher(network: Teacher, batch: Batch) -> dict[str, TokenMaps]:
    output = network(*teacher_inputs(batch))
    maps = {}
    for m, branches in output.branches.items():
        samplings = {}
        for s, branch in branches.items():
            attention, offsets = branch.attention, branch.offsets
            assert attention is not None
            # the released teacher's queries are the cells of a map, all valid
            mask = network.gene_mask(s)
            asked = attention[:, :, mask] if attention.shape[2] == len(mask) else attention
            samplings[s] = _sampling(asked, offsets, batch.patches[m].shape[1])
        maps[m] = TokenMaps(samplings=samplings)
    return maps


def _student(network: Student, batch: Batch, attention: bool) -> dict[str, TokenMaps]:
    output = network(*student_inputs(batch))
    maps = {}
    for m, aggregation in output.aggregation.items():
        # order of the given prototypes; its inverse is the position of each given prototype
        place = np.argsort(output.order[m][0].cpu().numpy())
        prototype = place[aggregation.assignment[0].cpu().numpy()]
        weight = aggregation.weights[0].double().cpu().numpy()
        for members in (prototype == k for k in range(len(place))):
            weight[members] /= max(weight[members].sum(), np.finfo(np.float64).tiny)
        samplings = {"patches": _patch_sampling(network, m, batch.patches[m])} if attention else {}
        maps[m] = TokenMaps(prototype, weight, samplings)
    return maps


def _patch_sampling(network: Student, magnification: str, patches: Tensor) -> Sampling:
    tokens = network.patch_tokens(magnification)(patches)
    deformation = network.get_submodule(f"aggregation.{magnification}.deformation")
    if isinstance(deformation, BiasedDeformableAttention):
        deformed = deformation(tokens, tokens)
    else:
        deformed = deformation(tokens, tokens, need_attention=True)
    return _sampling(deformed.attention, deformed.offsets, tokens.shape[1])


def _sampling(attention: Tensor, offsets: Tensor, tokens: int) -> Sampling:
    """Return the sampling of attention (1, heads, Q, keys) and offsets (1, groups, h, w, 2) in cells."""
    side = round(tokens**0.5)
    grid = reference_points(offsets.shape[2], device=offsets.device, dtype=offsets.dtype)
    points = (grid + offsets[0] * (2 / side)).flatten(1, 2)  # (groups, keys, 2)
    mass = attention[0].double().mean(dim=(0, 1)).cpu().numpy()
    return Sampling(points.double().cpu().numpy(), mass / mass.sum(), side)
