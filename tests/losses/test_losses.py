"""Losses and gradient coordination against hand-made cases, brute force, closed forms and gradcheck."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from scipy.stats import entropy

from pathduet.cohort.survival_bins import discretize
from pathduet.losses.cgc import coordinate_classifier, coordinate_gradients, in_conflict, subspace_logits
from pathduet.losses.dev import cross_scale_similarity, dev_loss, level_loss
from pathduet.losses.distillation import distillation_loss, hazard_distillation_loss
from pathduet.losses.survival import survival_curve, survival_nll, survival_risk


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))


class TestCoordination:
    def test_the_conflicting_component_vanishes_and_is_not_reflected(self) -> None:
        tumor, tme = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.0])
        one, other = coordinate_gradients([tumor, tme], [0.1, 0.9])
        assert one.tolist() == [0.0, 2.0] and other.tolist() == [-1.0, 0.0]
        one, other = coordinate_gradients([tumor, tme], [0.9, 0.1])
        # (-1, 0) minus its projection onto (1, 2): (-1, 0) + (1, 2) / 5.
        assert one.tolist() == [1.0, 2.0] and other.tolist() == pytest.approx([-0.8, 0.4])

    @given(st.integers(0, 9999), st.booleans())
    @settings(max_examples=60, deadline=None)
    def test_afterwards_a_conflict_is_orthogonal_and_agreement_untouched(
        self, seed: int, tumor_less: bool
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        tumor, tme = (torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
        confidence = (0.2, 0.7) if tumor_less else (0.7, 0.2)
        one, other = coordinate_gradients([tumor, tme], confidence)
        if cosine(tumor, tme) >= 0:
            assert torch.equal(one, tumor) and torch.equal(other, tme)
            return
        assert cosine(one, other) == pytest.approx(0, abs=1e-9)
        changed, kept, before, direction = (
            (one, other, tumor, tme) if tumor_less else (other, one, tme, tumor)
        )
        assert torch.equal(kept, direction), "the more confident gradient stays"
        # What was taken away is parallel to the other gradient, and never more than there was.
        assert abs(cosine(before - changed, direction)) == pytest.approx(1, abs=1e-9)
        assert changed.norm() <= before.norm()

    def test_equal_confidences_change_nothing(self) -> None:
        tumor, tme = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -1.0])
        one, other = coordinate_gradients([tumor, tme], [0.5, 0.5])
        assert torch.equal(one, tumor) and torch.equal(other, tme)

    def test_zero_and_orthogonal_gradients_change_nothing(self) -> None:
        for tumor, tme in (([0.0, 0.0], [1.0, 0.0]), ([0.0, 3.0], [1.0, 0.0])):
            one, other = coordinate_gradients([torch.tensor(tumor), torch.tensor(tme)], [0.1, 0.9])
            assert one.tolist() == tumor and other.tolist() == tme

    def test_tiny_gradients_do_not_underflow(self) -> None:
        tumor, tme = torch.tensor([1e-10, 2e-10]), torch.tensor([-1e-25, 0.0])
        one, _ = coordinate_gradients([tumor, tme], [0.1, 0.9])
        assert one.tolist() == pytest.approx([0.0, 2e-10], abs=1e-16)

    @pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
    def test_the_size_of_the_gradients_does_not_decide_whether_they_conflict(self, scale: float) -> None:
        tumor, tme = torch.tensor([1.0, 0.0]) * scale, torch.tensor([-1.0, 1.0]) * scale
        one, other = coordinate_gradients([tumor, tme], [1, 2])
        assert (one / scale).tolist() == pytest.approx([0.5, 0.5]) and torch.equal(other, tme)

    def test_confidences_may_be_numbers_tensors_or_one_a_sample(self) -> None:
        tumor, tme = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
        expected = coordinate_gradients([tumor, tme], [0.5, 1.5])
        for pair in (
            (1, 3),
            (torch.tensor(0.5), torch.tensor(1.5)),
            (torch.tensor([0.2, 0.3]), torch.tensor([0.9, 0.6])),
        ):
            assert all(map(torch.equal, coordinate_gradients([tumor, tme], pair), expected))
        for unknown in (float("nan"), torch.tensor(float("nan"))):
            assert all(map(torch.equal, coordinate_gradients([tumor, tme], [unknown, 0.5]), (tumor, tme)))

    def test_inputs_are_not_changed_and_shapes_must_agree(self) -> None:
        tumor, tme = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.0])
        coordinate_gradients([tumor, tme], [0.1, 0.9])
        assert tumor.tolist() == [1.0, 2.0]
        with pytest.raises(ValueError, match="shapes"):
            coordinate_gradients([tumor, torch.zeros(3)], [0.1, 0.9])

    def test_the_subspaces_logits_add_up_to_the_classifiers(self) -> None:
        layer, representation = torch.nn.Linear(8, 3), torch.randn(5, 8)
        tumor, tme = subspace_logits(representation, layer.weight, layer.bias, 2)
        assert torch.allclose(tumor + tme, layer(representation), atol=1e-6)
        changed = torch.cat([representation[:, :4], torch.zeros(5, 4)], dim=1)
        assert torch.equal(subspace_logits(changed, layer.weight, layer.bias, 2)[0], tumor)

    @given(st.integers(0, 9999), st.integers(3, 8), st.integers(2, 12))
    @settings(max_examples=80, deadline=None)
    def test_of_many_none_conflicts_with_a_more_confident_one_afterwards(
        self, seed: int, count: int, size: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        given = list(torch.randn(count, 2, size, generator=generator, dtype=torch.float64))
        sure = torch.randperm(count, generator=generator).double()
        found = coordinate_gradients(given, sure)
        for i, gradient in enumerate(found):
            surer = [other for other, more in zip(given, sure) if more > sure[i]]
            if gradient.norm() > 1e-9 * given[i].norm():  # in few dimensions nothing may be left
                assert all(cosine(gradient, other) > -1e-6 for other in surer)
            assert gradient.norm() <= given[i].norm() * (1 + 1e-12)
            if not any(in_conflict(given[i], other) for other in surer):
                assert torch.equal(gradient, given[i]), "who agrees is left alone"

    def test_of_three_the_least_confident_loses_its_components_along_both(self) -> None:
        first, second = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])
        least = torch.tensor([-1.0, -1.0, 1.0])
        found = coordinate_gradients([least, first, second], [0.1, 0.9, 0.5])
        # One after the other would leave a component along the first: (-1, -1, 1) -> (0, -1, 1) -> (1/2, -1/2, 1).
        assert found[0].tolist() == pytest.approx([0.0, 0.0, 1.0], abs=1e-6)
        assert torch.equal(found[1], first) and torch.equal(found[2], second)

    def test_a_conflict_that_arises_by_the_projection_is_resolved_too(self) -> None:
        least, first, second = torch.tensor([-2.0, 1.0]), torch.tensor([1.0, 0.0]), torch.tensor([-1.0, -1.0])
        assert not in_conflict(least, second)
        found = coordinate_gradients([least, first, second], [1, 3, 2])
        assert found[0].abs().max() < 1e-6, "orthogonal to both in the plane: nothing is left"

    def test_gradients_along_the_same_line_are_taken_out_once(self) -> None:
        first = torch.tensor([1.0, 0.3, -0.2])
        found = coordinate_gradients([-first + torch.tensor([0.0, 0.2, 0.3]), first, 3.7 * first], [1, 3, 2])
        alone = coordinate_gradients([-first + torch.tensor([0.0, 0.2, 0.3]), first], [1, 3])
        assert torch.allclose(found[0], alone[0], atol=1e-6)

    def test_a_classifiers_blocks_are_coordinated_in_place(self) -> None:
        torch.manual_seed(0)
        gradient = torch.randn(3, 20)
        blocks, sure = [block.clone() for block in gradient.chunk(5, dim=1)], torch.arange(5.0)
        assert coordinate_classifier(gradient, sure)
        assert torch.equal(gradient, torch.cat(coordinate_gradients(blocks, sure), dim=1))
        rows = torch.cat(blocks, dim=1)
        assert coordinate_classifier(rows, sure, by_row=True) and not torch.equal(rows, gradient)
        for row in range(3):
            alone = coordinate_gradients([block[row] for block in blocks], sure)
            assert torch.allclose(rows[row], torch.cat(alone))
        agreeing = blocks[0].repeat(1, 5)
        before = agreeing.clone()
        assert not coordinate_classifier(agreeing, sure) and torch.equal(agreeing, before)

    @pytest.mark.parametrize("count", [1, 2, 3, 8])
    def test_any_number_of_subspaces_adds_up_to_the_classifier(self, count: int) -> None:
        layer, representation = torch.nn.Linear(4 * count, 3), torch.randn(5, 4 * count)
        alone = subspace_logits(representation, layer.weight, layer.bias, count)
        assert len(alone) == count
        assert torch.allclose(torch.stack(alone).sum(dim=0), layer(representation), atol=1e-5)


class TestConsistency:
    def attention(self, *shape: int, seed: int = 0) -> torch.Tensor:
        return torch.randn(
            *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        ).softmax(-1)

    def test_equals_the_variance_of_the_diagonal_of_the_full_matrix(self) -> None:
        a, b = self.attention(5, 2, 3, 7), self.attention(5, 2, 3, 7, seed=1)
        rows = [(x / x.norm(dim=-1, keepdim=True)).flatten(1) for x in (a, b)]
        full = (rows[0] @ rows[1].T).numpy() / (2 * 3)  # C, B x B, mean over heads and genes
        assert float(dev_loss(a, b, 10.0)) == pytest.approx(10.0 * np.var(np.diag(full)), rel=1e-9)

    def test_by_hand(self) -> None:
        # Two slides, one head, one gene, two keys: C_11 = 1, C_22 = 0; population variance 1/4.
        a = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.0]]]])
        b = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
        assert float(dev_loss(a, b, 2.0)) == 0.5

    def test_its_scale_depends_on_neither_keys_nor_genes(self) -> None:
        # half the slides attend alike, half elsewhere, on a tenth of the keys
        found = []
        for keys, genes in ((10, 2), (200, 50)):
            there, elsewhere = torch.zeros(2, 1, genes, keys)
            there[..., : keys // 10], elsewhere[..., -(keys // 10) :] = 10 / keys, 10 / keys
            a, b = torch.stack([there] * 4), torch.stack([there, there, elsewhere, elsewhere])
            found.append(float(dev_loss(a, b)))
        assert found == pytest.approx([0.25, 0.25])

    def test_the_level_is_what_uniform_attention_does_not_lower(self) -> None:
        even, a = torch.full((4, 2, 3, 7), 1 / 7, dtype=torch.float64), self.attention(4, 2, 3, 7)
        assert float(dev_loss(even, even)) == pytest.approx(0, abs=1e-12)
        assert float(level_loss(even, even)) == 1 and float(level_loss(a, a, 3.0)) == pytest.approx(
            0, abs=1e-9
        )
        assert float(level_loss(a, 2 / 7 - a, 3.0)) == pytest.approx(6)
        b = self.attention(4, 2, 3, 7, seed=1)
        r = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.reshape(-1, 7), b.reshape(-1, 7), strict=True)]
        assert float(level_loss(a, b)) == pytest.approx(1 - np.mean(r))
        assert torch.autograd.gradcheck(
            lambda x, y: level_loss(x, y), (a.requires_grad_(), b.requires_grad_())
        )

    def test_zero_for_one_slide_and_for_equally_consistent_slides(self) -> None:
        a, b = self.attention(1, 2, 3, 7), self.attention(1, 2, 3, 7, seed=1)
        assert float(dev_loss(a, b, 1e4)) == 0
        repeated = a.expand(4, -1, -1, -1), b.expand(4, -1, -1, -1)
        assert float(dev_loss(*repeated, 1e4)) == pytest.approx(0, abs=1e-12)

    def test_masked_genes_do_not_count(self) -> None:
        a, b = self.attention(4, 2, 5, 7), self.attention(4, 2, 5, 7, seed=1)
        mask = torch.tensor([True, True, True, False, False])
        assert float(dev_loss(a, b, 1.0, mask)) == pytest.approx(
            float(dev_loss(a[:, :, :3], b[:, :, :3])), rel=1e-9
        )
        assert float(dev_loss(a, b, 1.0, mask.expand(4, 5))) == float(dev_loss(a, b, 1.0, mask))

    @given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(0, 99))
    @settings(max_examples=40, deadline=None)
    def test_similarity_is_in_zero_one_and_symmetric(
        self, B: int, heads: int, G: int, keys: int, seed: int
    ) -> None:
        a, b = self.attention(B, heads, G, keys, seed=seed), self.attention(B, heads, G, keys, seed=seed + 1)
        similarity = cross_scale_similarity(a, b)
        assert similarity.shape == (B,) and (similarity >= 0).all() and (similarity <= 1 + 1e-12).all()
        assert torch.allclose(similarity, cross_scale_similarity(b, a))
        assert float(dev_loss(a, b)) >= 0

    def test_half_precision_is_computed_in_float32(self) -> None:
        a, b = (self.attention(6, 2, 4, 30, seed=s).to(torch.bfloat16) for s in (0, 1))
        assert float(dev_loss(a, b, 1e4)) == float(dev_loss(a.float(), b.float(), 1e4))

    def test_a_slide_without_a_gene_does_not_make_it_undefined(self) -> None:
        a = self.attention(3, 2, 4, 5).requires_grad_()
        mask = torch.ones(3, 4, dtype=torch.bool)
        mask[1] = False
        assert cross_scale_similarity(a, a, mask)[1] == 0
        loss = dev_loss(a, a, 1.0, mask)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(a.grad).all()

    def test_passes_gradcheck_and_refuses_other_shapes(self) -> None:
        a, b = (self.attention(3, 2, 2, 4, seed=s).requires_grad_() for s in (0, 1))
        assert torch.autograd.gradcheck(lambda x, y: dev_loss(x, y, 100.0), (a, b))
        with pytest.raises(ValueError, match="shapes"):
            dev_loss(a, b[:, :, :, :3])


class TestSurvival:
    def test_likelihood_by_hand(self) -> None:
        # Hazards 1/2, 1/4, 3/4. Death in the second interval: 1/2 * 1/4; censored there: 1/2 * 3/4.
        logits = torch.logit(torch.tensor([[0.5, 0.25, 0.75]]))
        died = survival_nll(logits, torch.tensor([1]), torch.tensor([1]))
        censored = survival_nll(logits, torch.tensor([1]), torch.tensor([0]))
        assert float(died) == pytest.approx(-math.log(1 / 8), rel=1e-6)
        assert float(censored) == pytest.approx(-math.log(3 / 8), rel=1e-6)

    @given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 999))
    @settings(max_examples=60, deadline=None)
    def test_equals_the_product_written_out(self, B: int, K: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        logits, bins, events = rng.normal(size=(B, K)) * 3, rng.integers(0, K, B), rng.integers(0, 2, B)
        expected = []
        for b in range(B):
            h = expit(logits[b])
            product = math.prod(1 - h[: bins[b]]) * (h[bins[b]] if events[b] else 1 - h[bins[b]])
            expected.append(-math.log(product))
        found = survival_nll(torch.tensor(logits), torch.tensor(bins), torch.tensor(events))
        assert float(found) == pytest.approx(np.mean(expected), rel=1e-9)

    def test_all_outcomes_of_a_patient_add_up_to_one(self) -> None:
        logits = torch.randn(1, 4, dtype=torch.float64)
        died = [math.exp(-survival_nll(logits, torch.tensor([k]), torch.tensor([1]))) for k in range(4)]
        outlived = math.exp(-survival_nll(logits, torch.tensor([3]), torch.tensor([0])))
        assert sum(died) + outlived == pytest.approx(1, abs=1e-12)

    def test_extreme_logits_stay_finite(self) -> None:
        logits = torch.tensor([[200.0, -200.0, 200.0]], requires_grad=True)
        loss = survival_nll(logits, torch.tensor([2]), torch.tensor([1]))
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()

    @pytest.mark.parametrize("bins", [torch.uint8, torch.int32, torch.int64, torch.float32])
    @pytest.mark.parametrize("events", [torch.bool, torch.int64, torch.float64])
    def test_bins_and_events_may_be_of_any_type(self, bins: torch.dtype, events: torch.dtype) -> None:
        logits, at, seen = torch.randn(4, 4), torch.tensor([0, 3, 1, 2]), torch.tensor([1, 0, 0, 1])
        assert survival_nll(logits, at.to(bins), seen.to(events)) == survival_nll(logits, at, seen)

    @pytest.mark.parametrize(
        ("bins", "events", "found"),
        [
            ([0, 3], [1, 0], "found 3"),
            ([0, -1], [1, 0], "found -1"),
            ([0, 0.5], [1, 0], "found 0.5"),
            ([0, 1], [1, 2], "found 2"),
        ],
    )
    def test_outcomes_that_do_not_exist_are_refused(self, bins: list, events: list, found: str) -> None:
        with pytest.raises(ValueError, match=found):
            survival_nll(torch.zeros(2, 3), torch.tensor(bins), torch.tensor(events))

    def test_risk_is_minus_the_sum_of_the_curve_and_higher_hazards_mean_higher_risk(self) -> None:
        logits = torch.logit(torch.tensor([[0.5, 0.25], [0.6, 0.25]]))
        assert survival_risk(logits).tolist() == pytest.approx([-(0.5 + 0.375), -(0.4 + 0.3)], rel=1e-6)
        for k, step in itertools.product(range(3), (0.1, 2.0)):
            base = torch.randn(1, 3)
            raised = base.clone()
            raised[0, k] += step
            assert survival_risk(raised) > survival_risk(base)

    def test_the_curve_never_rises(self) -> None:
        curve = survival_curve(torch.rand(20, 6))
        assert (curve.diff(dim=1) <= 0).all() and (curve >= 0).all() and (curve <= 1).all()

    def test_lifelines_kaplan_meier_is_where_the_likelihood_of_equal_patients_peaks(self) -> None:
        from lifelines import KaplanMeierFitter

        rng = np.random.default_rng(3)
        bins, events = rng.integers(0, 4, 60), (rng.random(60) < 0.7).astype(int)
        fitter = KaplanMeierFitter().fit(bins + 1.0, events)
        curve = fitter.survival_function_at_times([1.0, 2.0, 3.0, 4.0]).to_numpy()
        hazards = 1 - curve / np.concatenate([[1.0], curve[:-1]])
        assert ((hazards > 0) & (hazards < 1)).all()
        logits = torch.logit(torch.tensor(hazards)).requires_grad_()
        loss = survival_nll(logits.expand(60, 4), torch.tensor(bins), torch.tensor(events))
        loss.backward()
        assert logits.grad.abs().max() < 1e-12
        assert survival_curve(logits.sigmoid()).tolist() == pytest.approx(curve.tolist())
        assert float(survival_risk(logits[None]).detach()) == pytest.approx(-curve.sum())

    def test_passes_gradcheck_and_refuses_other_shapes(self) -> None:
        logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
        bins, events = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 0, 1, 0])
        assert torch.autograd.gradcheck(lambda x: survival_nll(x, bins, events), (logits,))
        with pytest.raises(ValueError, match="do not fit"):
            survival_nll(logits, bins[:3], events)

    def test_intervals_are_quantiles(self) -> None:
        days = np.arange(1, 101)
        assert discretize(days, days % 2, 4).tolist() == pytest.approx(np.quantile(days, [0.25, 0.5, 0.75]))


class TestDistillation:
    @pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
    def test_equals_scipys_relative_entropy_times_tau_squared(self, temperature: float) -> None:
        student, teacher = np.random.default_rng(0).normal(size=(2, 6, 4)) * 2
        p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
        expected = temperature**2 * entropy(p, q, axis=1).mean()
        found = distillation_loss(torch.tensor(student), torch.tensor(teacher), temperature)
        assert float(found) == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("temperature", [1.0, 3.0])
    def test_hazards_equal_scipys_relative_entropy_of_bernoullis(self, temperature: float) -> None:
        student, teacher = np.random.default_rng(1).normal(size=(2, 6, 4)) * 2
        p, q = expit(teacher / temperature), expit(student / temperature)
        single = entropy(np.stack([p, 1 - p]), np.stack([q, 1 - q]), axis=0)
        found = hazard_distillation_loss(torch.tensor(student), torch.tensor(teacher), temperature)
        assert float(found) == pytest.approx(temperature**2 * single.sum(axis=1).mean(), rel=1e-9)

    @pytest.mark.parametrize("loss", [distillation_loss, hazard_distillation_loss])
    def test_zero_for_agreement_positive_otherwise_and_gradients_reach_the_student_only(self, loss) -> None:
        student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        teacher = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        assert loss(student, student.detach(), 2.0).item() == pytest.approx(0, abs=1e-12)
        value = loss(student, teacher, 2.0)
        value.backward()
        assert value > 0 and teacher.grad is None and student.grad.abs().sum() > 0
        assert torch.autograd.gradcheck(lambda x: loss(x, teacher.detach(), 2.0), (student,))

    @pytest.mark.parametrize("loss", [distillation_loss, hazard_distillation_loss])
    def test_other_shapes_and_temperatures_are_refused_and_extremes_stay_finite(self, loss) -> None:
        with pytest.raises(ValueError, match="shape"):
            loss(torch.zeros(3, 4), torch.zeros(1, 4), 2.0)
        with pytest.raises(ValueError, match="temperature"):
            loss(torch.zeros(3, 4), torch.zeros(3, 4), 0.0)
        student = (torch.tensor([[1.0, -1.0, 0.5]]) * 1e4).requires_grad_()
        value = loss(student, -student.detach(), 2.0)
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(student.grad).all()
        half = torch.randn(2, 3).half()
        assert loss(half, half * 2, 2.0).dtype is torch.float32

    @pytest.mark.parametrize("loss", [distillation_loss, hazard_distillation_loss])
    def test_gradients_keep_their_size_when_the_temperature_grows(self, loss) -> None:
        student, teacher = torch.zeros(1, 4, requires_grad=True), torch.tensor([[0.2, -0.1, 0.1, -0.2]])
        sizes = [torch.autograd.grad(loss(student, teacher, t), student)[0].norm() for t in (5.0, 50.0)]
        assert float(sizes[0] / sizes[1]) == pytest.approx(1, abs=0.02)
