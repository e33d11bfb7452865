"""Late fusion, co-attention, translation, coordination and imputation against plain computations."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import baseline_inputs as small_cohort
import pytest
import torch

from pathduet.catalogue import find, names
from pathduet.models.baselines.ae import AutoencoderImputer
from pathduet.models.baselines.late_fusion import GatedBilinear, outer_with_ones
from pathduet.models.baselines.lm import LinearImputer
from pathduet.models.baselines.sml import Sml, batch_similarity_loss
from pathduet.models.method.gene_vectors import gene_counts, gene_vectors
from pathduet.models.network_settings import network_settings
from pathduet.training.baseline_objective import BaselineObjective
from pathduet.training.config import TrainingConfig
from pathduet.training.networks import build_baseline
from pathduet.training.task_targets import ClassTarget

OUTCOME = ClassTarget(("a", "b", "c", "d"))
#: They look at where a tile lies: through convolutions of the token map, or by sampling it.
POSITIONAL = {"transmil", "cmta", "sml"}
BASELINES = {name: find(name) for name in names("baseline")}
SLIDES = sorted(name for name, one in BASELINES.items() if "slides" in one.predicts_from)


@pytest.mark.parametrize("name", SLIDES)
def test_tiles_in_another_order_change_the_answer_of_positional_models_alone(name: str) -> None:
    model, items = small_cohort.small(name).eval(), small_cohort.batch(4)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(1))
    shuffled = replace(items, patches={m: x[:, order] for m, x in items.patches.items()})
    same = torch.allclose(model(items).logits, model(shuffled).logits, atol=1e-5)
    assert same is (name not in POSITIONAL)


def test_outer_product_agrees_with_a_loop() -> None:
    first, second = torch.randn(3, 2), torch.randn(3, 4)
    found = outer_with_ones(first, second)
    assert found.shape == (3, 3, 5)
    for b in range(3):
        x, y = [*first[b].tolist(), 1.0], [*second[b].tolist(), 1.0]
        for i in range(3):
            for j in range(5):
                assert found[b, i, j].item() == pytest.approx(x[i] * y[j], rel=1e-6)


def test_gated_bilinear_agrees_with_a_loop_over_all_products() -> None:
    torch.manual_seed(0)
    block = GatedBilinear(6, 3).double()
    pair = (torch.randn(2, 6, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64))
    found = block(pair)
    for b in range(2):
        short = []
        for side in range(2):
            content, gate = block.content[side], block.gates[side]
            h = (content.weight @ pair[side][b] + content.bias).clamp(min=0)
            z = 1 / (1 + (-(gate.weight @ torch.cat([pair[0][b], pair[1][b]]) + gate.bias)).exp())
            short.append([*(h * z), torch.tensor(1.0, dtype=torch.float64)])
        total = block.dense.bias.clone()
        for i in range(4):
            for j in range(4):
                total = total + block.dense.weight[:, 4 * i + j] * short[0][i] * short[1][j]
        assert torch.allclose(found[b], total.clamp(min=0))


def test_concat_and_add_fuse_what_their_names_say() -> None:
    items = small_cohort.batch(3)
    for name in ("concat", "add"):
        model = small_cohort.small(name).eval()
        slide, _ = model.attention(model.bag(items.patches))
        genes = model.snn([torch.cat([items.genes["tumor"], items.genes["tme"]], dim=1)])
        expected = torch.cat([slide, genes], dim=1) if name == "concat" else slide + genes
        assert torch.equal(model(items).representation, expected)


def test_gene_input_gives_the_vectors_it_names() -> None:
    items = small_cohort.batch(2)
    widths = {
        name: [x.shape[1] for x in gene_vectors(items, name)]
        for name in ("tumor", "tme", "concat", "parallel")
    }
    assert widths == {"tumor": [5], "tme": [9], "concat": [14], "parallel": [5, 9]}
    assert small_cohort.small("snn", genes="parallel")(items).logits.shape == (2, 4)
    tumor_alone = small_cohort.small("snn", genes="tumor").eval()
    items_without_tme = replace(items, genes=items.genes | {"tme": items.genes["tme"] * 0})
    assert torch.equal(tumor_alone(items).logits, tumor_alone(items_without_tme).logits)


def test_three_subspaces_are_three_vectors_in_their_order() -> None:
    sizes = small_cohort.sizes(z=2, a=3, m=4)
    items = small_cohort.batch(2, sizes=sizes)
    found = {form: gene_vectors(items, form) for form in ("a", "concat", "parallel")}
    for form, vectors in found.items():
        assert [x.shape[1] for x in vectors] == gene_counts(sizes, form)
    assert torch.equal(found["concat"][0], torch.cat(found["parallel"], dim=1))
    assert torch.equal(found["parallel"][1], found["a"][0])


def test_alignment_is_the_distance_to_detached_encoder_tokens() -> None:
    model, items = small_cohort.small("cmta").train(), small_cohort.batch()
    histology, tiles = model.histology_encoder(model.bag(items.patches), 2)
    genes, groups = model.gene_encoder(model.genes(items))
    other_histology, _ = model.histology_decoder(model.tiles_ask_genes(tiles, groups, groups)[0], 2)
    other_genes, _ = model.gene_decoder(model.genes_ask_tiles(groups, tiles, tiles)[0])

    def distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (other_histology - first).abs().mean() + (other_genes - second).abs().mean()

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss, model.gene_encoder.class_token, retain_graph=True)[0]

    found = model(items).auxiliary["alignment"]
    detached = distance(histology.detach(), genes.detach())
    assert torch.allclose(found, detached)
    assert torch.allclose(gradient(found), gradient(detached))
    assert not torch.allclose(gradient(found), gradient(distance(histology, genes)))


def test_batch_similarity_agrees_with_a_loop_and_moves_both_sides() -> None:
    genes, points = torch.randn(4, 5, requires_grad=True), torch.randn(4, 3, 8, requires_grad=True)

    def rows(x: torch.Tensor) -> torch.Tensor:
        products = [torch.stack([(x[i] * x[j]).sum() for j in range(4)]) for i in range(4)]
        return torch.stack([row / row.square().sum().sqrt() for row in products])

    loss = batch_similarity_loss(genes, points)
    sampled = sum(rows(points[:, g]) for g in range(3)) / 3
    assert loss.item() == pytest.approx(((rows(genes) - sampled).square().sum() / 4).item(), rel=1e-5)
    loss.backward()
    assert genes.grad.abs().sum() > 0 and points.grad.abs().sum() > 0
    assert batch_similarity_loss(genes[:1], points[:1]).item() == pytest.approx(0, abs=1e-10)
    assert batch_similarity_loss(genes[:0], points[:0]).item() == 0


def test_where_sml_samples_depends_on_genes_and_tissue_and_no_point_leaves_its_range() -> None:
    block = small_cohort.small("sml").fusion["tumor"]["10x"]
    genes, patches = torch.randn(2, 16), torch.randn(2, 36, 16)
    _, points = block(genes, patches)  # 3 x 3 points, x before y
    assert points.shape == (2, 2, 18)
    grid = torch.tensor([[x, y] for y in range(3) for x in range(3)]).float().flatten()
    assert 0 < (points - grid).abs().max() <= 4
    for changed in ((genes + 1, patches), (genes, patches.flip(1))):
        assert not torch.allclose(block(*changed)[1], points)


def test_conflicting_subspaces_of_sml_are_coordinated_and_nothing_else_is() -> None:
    model = small_cohort.small("sml")
    assert isinstance(model, Sml)
    objective = BaselineObjective(OUTCOME, TrainingConfig())
    objective.loss(model, small_cohort.batch()).total.backward()
    c = 16
    gradient = model.classifier.weight.grad
    with torch.no_grad():  # make them conflict
        gradient[:, c:] = -gradient[:, :c] + 0.1 * torch.randn(
            4, c, generator=torch.Generator().manual_seed(3)
        )
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    assert objective.coordinate(model) == 1.0
    dot = (gradient[:, :c] * gradient[:, c:]).sum()
    assert dot.item() == pytest.approx(0, abs=1e-6)
    changed = [name for name, p in model.named_parameters() if not torch.equal(p.grad, before[name])]
    assert changed == ["classifier.weight"]
    halves = [
        torch.equal(gradient[:, :c], before[changed[0]][:, :c]),
        torch.equal(gradient[:, c:], before[changed[0]][:, c:]),
    ]
    assert sorted(halves) == [False, True]


def test_subspaces_that_agree_are_left_alone() -> None:
    model = small_cohort.small("sml")
    objective = BaselineObjective(OUTCOME, TrainingConfig())
    objective.loss(model, small_cohort.batch()).total.backward()
    gradient = model.classifier.weight.grad
    with torch.no_grad():
        gradient[:, 16:] = gradient[:, :16]
    before = gradient.clone()
    assert objective.coordinate(model) == 0.0
    assert torch.equal(gradient, before)


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"sml"}))
def test_only_sml_coordinates_gradients(name: str) -> None:
    assert BaselineObjective(OUTCOME, TrainingConfig()).coordinate(small_cohort.small(name)) is None


@pytest.mark.parametrize("name", ["lm", "ae"])
def test_task_loss_without_expression_teaches_the_imputer(name: str) -> None:
    model = small_cohort.small(name)
    items = small_cohort.without_expression(small_cohort.batch())
    loss = BaselineObjective(OUTCOME, TrainingConfig()).loss(model, items)
    assert loss.parts["paired"].item() == 0 and loss.parts["reconstruction"].item() == 0
    loss.total.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.imputer.parameters() if p.grad is not None)
    assert any(p.grad is not None for p in model.imputer.parameters())
    assert all(p.grad is None for p in model.snn.parameters())


@pytest.mark.parametrize("name", ["lm", "ae"])
def test_what_is_imputed_is_what_the_classifier_reads(name: str) -> None:
    model, items = small_cohort.small(name).eval(), small_cohort.batch()
    answer = model(items)
    slide, imputed = answer.representation.chunk(2, dim=1)
    assert torch.allclose(model.imputer(slide), imputed)
    assert not torch.allclose(imputed, torch.zeros_like(imputed))
    blank = model.classifier(torch.cat([slide, torch.zeros_like(imputed)], dim=1))
    assert not torch.allclose(blank, answer.logits)


@pytest.mark.parametrize(
    "build", [partial(LinearImputer, 6), partial(AutoencoderImputer, 6, 6)], ids=["linear", "autoencoder"]
)
def test_genes_that_follow_from_the_slide_are_imputed(build: Callable[[], torch.nn.Module]) -> None:
    imputer = build()  # here, as only a test's own numbers are seeded
    generator = torch.Generator().manual_seed(0)
    slide = torch.randn(64, 6, generator=generator)
    genes = slide @ torch.randn(6, 6, generator=generator) / 6**0.5 + 1
    optimiser = torch.optim.Adam(imputer.parameters(), lr=1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        imputer.reconstruction_loss(slide, genes).backward()
        optimiser.step()
    with torch.no_grad():
        unexplained = (imputer(slide) - genes).square().mean() / genes.var()
    assert float(unexplained) < 0.1


def test_the_paired_loss_looks_at_slides_with_expression_alone() -> None:
    model, items = small_cohort.small("lm"), small_cohort.batch()
    half = replace(items, has_expression=torch.arange(8) >= 4)
    filled = half.genes["tumor"].index_fill(0, torch.arange(4), 99.0)
    other = replace(half, genes=half.genes | {"tumor": filled})
    objective = BaselineObjective(OUTCOME, TrainingConfig())
    first, second = (objective.loss(model, each).parts for each in (half, other))
    assert first["paired"] > 0
    for part in first:
        assert torch.equal(first[part], second[part])


def test_parameter_counts_are_as_the_documentation_says() -> None:
    sizes = replace(small_cohort.sizes(tumor=59, tme=361), feature_dim=1024)
    counts = {
        name: sum(p.numel() for p in build_baseline(one, sizes, network_settings(one)).parameters())
        for name, one in BASELINES.items()
    }
    page = (Path(__file__).parents[2] / "docs/models.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\d,]+) \|", page, re.MULTILINE))
    assert {name: int(number.replace(",", "")) for name, number in stated.items()} == counts
