"""Assigns the prototypes of a trained student to subspaces by the expression, before distillation starts.

A student that was trained on the task alone distinguishes its prototypes, on most slides in the same way, but which
of them comes first is random. With an assignment slide by slide, distillation would keep that random order: the
student's representation has its own basis, in which every order is equally far from the teacher's. Two things are
fixed here:

- *the same order on every slide*: the scorer is set to the directions in which a slide's prototypes differ most, over
  all slides: the clustering divides tissue along them. The task alone does not determine it where other orders
  predict equally well.
- *the right prototype for each subspace*: tissue and expression differ between the same patients, so the prototypes go to
  the subspaces whose genes they predict best. The encoder's features of each prototype's tiles describe the tissue:
  the teacher's and the student's representations are weaker evidence, because all of their parts have learned the
  outcome of the same slides. Two magnifications of a slide show the same tissue, so their evidence is added up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pathduet.models.method.dpc_knn import merge_tokens
from pathduet.models.method.student import Student
from pathduet.models.method.subspace_order import best_order, in_order
from pathduet.training.loop import TrainingItems
from pathduet.training.objectives import student_inputs

#: Ridge penalty in units of the mean squared singular value: there are tens of patients, hundreds of features.
PENALTY = 10.0
#: Starts of the search for three or more consistent groups of prototypes, and rounds of each.
_STARTS, _ROUNDS = 8, 20

#: The prototype of each subspace.
Order = tuple[int, ...]


def all_orders(count: int) -> list[Order]:
    """Return the orders of K prototypes, the given one first."""
    return list(permutations(range(count)))


def order_evidence(ordered: Tensor, genes: Sequence[Tensor]) -> dict[Order, float]:
    """Return how well each order of the prototypes fits the subspaces.

    The genes of each subspace are predicted by ridge regression from all prototypes at once; what a prototype
    adds to the variance of the prediction is its share.

    Parameters
    ----------
    ordered : Tensor
        (n, K, c) of n slides: features that describe the tissue of each prototype.
    genes : sequence of Tensor
        (n, G) z-scores of each of the K subspaces' genes.

    Returns
    -------
    dict
        For every order, the product over the subspaces of its prototype's share in the subspace's genes: in [0, 1].
    """
    n, count, c = ordered.shape
    x = (ordered - ordered.mean(dim=0)).double()
    # All prototypes weigh the same, however much they vary between slides.
    x = x / x.square().sum(dim=(0, 2), keepdim=True).sqrt().clamp(min=1e-12)
    joint = x.flatten(1)  # (n, K c)
    gram = joint @ joint.T  # between slides: there are fewer slides than features
    gram.diagonal().add_(PENALTY * gram.diagonal().sum() / min(n, count * c))
    shares = []
    for values in genes:
        y = (values - values.mean(dim=0)).double()
        weights = joint.T @ torch.linalg.solve(gram, y)  # (K c, G)
        added = torch.stack([(x[:, k] @ weights[k * c : (k + 1) * c]).square().sum() for k in range(count)])
        shares.append((added / added.sum().clamp(min=1e-300)).tolist())
    return {order: math.prod(share[k] for share, k in zip(shares, order)) for order in all_orders(count)}


def consistent_scorer(given: Tensor, scorer: Tensor) -> Tensor | None:
    """Return the scorer (K - 1, c) of the directions in which the prototypes of a slide differ most, over all slides.

    With two prototypes, it is the main direction of their difference. With more, the prototypes of all slides are gathered
    around K centres, one of each slide at each, in the order that brings them nearest.

    Parameters
    ----------
    given : Tensor
        (n, K, c) prototypes in the clustering's order, which is arbitrary.
    scorer : Tensor
        (K - 1, c) current scorer; the groups found are numbered to match it best.

    Returns
    -------
    Tensor or None
        Scaled so that the best order's score exceeds the orders' mean score by 1/2, in the mean over slides; None if the
        prototypes do not differ.
    """
    if given.shape[1] == 2:
        return _main_direction(given, scorer)
    x = (given - given.mean(dim=1, keepdim=True)).double()
    before = best_order(F.pad(x @ scorer.double().T, (0, 1)))
    picks = [i * len(x) // _STARTS for i in range(_STARTS)]
    found = [_centres(x, start) for start in (in_order(x, before).mean(dim=0), *x[picks])]
    centres = max(found, key=lambda those: float(those.square().sum()))
    order = best_order(x @ centres.T)
    # the orders' mean score is 0, like each slide's mean
    lead = (in_order(x, order) * centres).sum(dim=(1, 2)).mean()
    if not lead > 0:
        return None
    same = (before.unsqueeze(1) == order.unsqueeze(2)).double().sum(dim=0)  # found (rows), before (columns)
    centres = centres[best_order(same.unsqueeze(0))[0]]
    return ((centres[:-1] - centres[-1]) / (2 * lead)).to(scorer.dtype)


def _main_direction(given: Tensor, scorer: Tensor) -> Tensor | None:
    difference = (given[:, 0] - given[:, 1]).double()  # (n, c)
    direction = torch.linalg.eigh(difference.T @ difference).eigenvectors[:, -1]
    margin = (difference @ direction).abs().mean()
    if not margin > 0:
        return None
    side = direction @ scorer[0].double()
    if side == 0:
        side = direction[direction.abs().argmax()]
    return (direction * torch.sign(side) / margin).to(scorer.dtype).unsqueeze(0)


def _centres(x: Tensor, centres: Tensor) -> Tensor:
    """Return the means (K, c) of the slides' prototypes (n, K, c), each slide in the order nearest to them."""
    order = None
    for _ in range(_ROUNDS):
        before, order = order, best_order(x @ centres.T)
        if before is not None and torch.equal(before, order):
            break
        centres = in_order(x, order).mean(dim=0)
    return centres


@torch.no_grad()
def order_prototypes(
    student: Student,
    dataset: TrainingItems,
    paired: list[int],
    batch_size: int,
) -> dict[str, float]:
    """Order the prototypes alike on every slide, each at its own subspace as far as the expression shows.

    The scorers are replaced (:func:`consistent_scorer`); predictions of slides that had another order change a
    little. Where the expression supports it, the prototypes are exchanged, in the scorer and in the classifier,
    which changes no prediction. Both magnifications are judged together: where a slide's first prototype takes a
    large share of its tiles at 10x, that of the same tissue does so at 20x. The covariances of these shares over the slides
    show which prototypes are the same tissue, and the evidence of both is added up accordingly.

    Parameters
    ----------
    student : Student
        Trained; changed in place.
    dataset : TrainingItems
        The training slides, on the student's device.
    paired : list of int
        Positions of the slides that have expression.
    batch_size : int
        Slides at a time.

    Returns
    -------
    dict of str to float
        Evidence by magnification, :func:`order_evidence` of both added up: that for the order before the exchange minus that
        for the best other order; orders with a negative value were exchanged. 0, and nothing done, with fewer than
        three slides.
    """
    training = student.training
    student.eval()
    subspaces = student.config.subspaces
    seen = {m: _Seen([], [], []) for m in student.config.experts}
    genes: list[list[Tensor]] = []
    for start in range(0, len(paired), batch_size):
        batch = dataset.batch(paired[start : start + batch_size])
        genes.append([batch.genes[s] for s in subspaces])
        output = student(*student_inputs(batch))
        for m, parts in seen.items():
            assignment = output.aggregation[m].assignment  # (b, N)
            ones = torch.ones_like(assignment, dtype=torch.float32)
            means = merge_tokens(batch.patches[m], assignment, ones, len(subspaces))  # (b, K, d)
            parts.prototypes.append(output.prototypes[m].float())
            parts.tissue.append(student.patch_tokens(m).standardised(means))
            taken = [(assignment == k).float().mean(dim=1, keepdim=True) for k in range(len(subspaces))]
            parts.share.append(torch.stack(taken, dim=1))
    student.train(training)
    if len(paired) < 3:
        return dict.fromkeys(seen, 0.0)
    expressed = [torch.cat(parts) for parts in zip(*genes, strict=True)]
    fits: dict[str, dict[Order, float]] = {}
    shares: dict[str, Tensor] = {}
    for m, parts in seen.items():
        prototypes, tissue, share = (torch.cat(part) for part in parts)
        scorer = student.scorer(m)
        found = consistent_scorer(prototypes, scorer)
        if found is not None:
            scorer.copy_(found)
        order = best_order(F.pad(prototypes @ scorer.T, (0, 1)))
        fits[m] = order_evidence(in_order(tissue, order), expressed)
        shares[m] = in_order(share, order).squeeze(2)
    evidence = {}
    for m, (best, against_others) in _settled(fits, shares).items():
        evidence[m] = against_others
        if against_others < 0:
            student.reorder(m, best)
    return evidence


class _Seen(NamedTuple):
    """Per batch: prototypes in the clustering's order (b, K, c), mean features (b, K, d) and shares (b, K, 1) of their tiles."""

    prototypes: list[Tensor]
    tissue: list[Tensor]
    share: list[Tensor]


def _settled(
    fits: dict[str, dict[Order, float]], shares: dict[str, Tensor]
) -> dict[str, tuple[Order, float]]:
    """Return each magnification's best order, and the evidence for the current order against the best other one.

    `fits` are added up over the magnifications, but kept separate if the prototypes' shares (n, K) do not covary.
    """
    if len(fits) == 2:
        first, second = fits
        moved = [shares[m] - shares[m].mean(dim=0) for m in (first, second)]
        together = moved[1].T @ moved[0]  # (K, K)
        if bool(together.any()):
            # the prototype at `second` with the tissue of each at `first`
            same = best_order(together.unsqueeze(0))[0].tolist()
            start = tuple(range(len(same)))
            fit = fits[first], fits[second]
            worse = {
                order: (fit[0][start] - fit[0][order])
                + (fit[1][_through(start, same)] - fit[1][_through(order, same)])
                for order in fit[0]
            }  # as differences, so that equal fits compare as equal
            best = min(worse, key=lambda order: worse[order])
            return {
                first: (best, _against_others(worse, start)),
                second: (_through(best, same), _against_others(worse, tuple(same.index(k) for k in start))),
            }
    settled = {}
    for m, fit_of in fits.items():
        start = next(iter(fit_of))
        worse = {order: fit_of[start] - value for order, value in fit_of.items()}
        settled[m] = min(worse, key=lambda order: worse[order]), _against_others(worse, start)
    return settled


def _against_others(worse: dict[Order, float], kept: Order) -> float:
    return min(value - worse[kept] for order, value in worse.items() if order != kept)


def _through(order: Order, same: list[int]) -> Order:
    return tuple(same[k] for k in order)
