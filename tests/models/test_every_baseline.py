"""What holds for every model of the comparison."""

from __future__ import annotations

from dataclasses import asdict, replace

import baseline_inputs as small_cohort
import pytest
import torch

from pathduet import catalogue
from pathduet.core.errors import InputError
from pathduet.models.network_settings import network_settings
from pathduet.training.baseline_objective import BaselineObjective
from pathduet.training.config import TrainingConfig
from pathduet.training.task_targets import ClassTarget, SurvivalTarget

NAMES = sorted(catalogue.names("baseline"))
SLIDES = [name for name in NAMES if "slides" in catalogue.find(name).predicts_from]
OBJECTIVES = {
    "classes": ClassTarget(("a", "b", "c", "d")),
    "survival": SurvivalTarget((100.0, 200.0, 300.0)),
}


@pytest.mark.parametrize("name", NAMES)
def test_answer_has_the_logits_and_the_representation_that_the_last_layer_reads(name: str) -> None:
    model = small_cohort.small(name).eval()
    answer = model(small_cohort.batch())
    assert answer.logits.shape == (8, 4)
    assert answer.representation.ndim == 2 and len(answer.representation) == 8
    assert answer.auxiliary == {}
    last = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 4]
    assert torch.allclose(last[-1](answer.representation), answer.logits, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_eight_samples_are_learned_by_heart(name: str) -> None:
    model, items = small_cohort.small(name), small_cohort.batch()
    objective = BaselineObjective(OBJECTIVES["classes"], TrainingConfig())
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    for _ in range(400):
        optimiser.zero_grad()
        loss = objective.loss(model, items)
        loss.total.backward()
        objective.coordinate(model)
        optimiser.step()
        if loss.parts["task"].item() < 0.01:
            break
    with torch.no_grad():
        found = OBJECTIVES["classes"].loss(model.eval()(items).logits, items.observed)
    assert float(found) < 0.02


@pytest.mark.parametrize("task", OBJECTIVES)
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: str, task: str) -> None:
    model = small_cohort.small(name)
    BaselineObjective(OBJECTIVES[task], TrainingConfig()).loss(model, small_cohort.batch()).total.backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("magnification", ["10x", "20x"])
@pytest.mark.parametrize("name", SLIDES)
def test_one_magnification_alone_does_not_look_at_the_other(name: str, magnification: str) -> None:
    model, items = small_cohort.small(name, magnifications=(magnification,)).eval(), small_cohort.batch()
    only = replace(items, patches={magnification: items.patches[magnification]})
    assert torch.equal(model(items).logits, model(only).logits)


@pytest.mark.parametrize("name", NAMES)
def test_a_slide_is_answered_the_same_alone_and_in_a_batch(name: str) -> None:
    model, items = small_cohort.small(name).eval(), small_cohort.batch(4)
    one = replace(
        items,
        patches={m: x[2:3] for m, x in items.patches.items()},
        genes={name: values[2:3] for name, values in items.genes.items()},
        has_expression=items.has_expression[2:3],
    )
    assert torch.allclose(model(items).logits[2:3], model(one).logits, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in NAMES if "expression" not in catalogue.find(n).predicts_from])
def test_a_slide_only_model_never_reads_expression_when_it_predicts(name: str) -> None:
    model, items = small_cohort.small(name).eval(), small_cohort.batch()
    strange = {"tumor": items.genes["tumor"] + 7, "tme": torch.full_like(items.genes["tme"], torch.nan)}
    other = replace(items, genes=strange)
    blank = small_cohort.without_expression(items)
    for changed in (other, blank):
        assert torch.equal(model(items).logits, model(changed).logits)


@pytest.mark.parametrize("name", NAMES)
def test_missing_expression_gives_finite_losses_and_gradients(name: str) -> None:
    items = small_cohort.batch()
    half = replace(
        items,
        genes={name: values.index_fill(0, torch.arange(4), 0.0) for name, values in items.genes.items()},
        has_expression=torch.arange(8) >= 4,
    )
    for each in (half, small_cohort.without_expression(items)):
        model = small_cohort.small(name)
        loss = BaselineObjective(OBJECTIVES["classes"], TrainingConfig()).loss(model, each)
        loss.total.backward()
        assert torch.isfinite(loss.total)
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_as_on_a_gpu_changes_the_answer_by_its_rounding_alone(name: str) -> None:
    model, items = small_cohort.small(name), small_cohort.batch()
    exact = model.eval()(items).logits
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(items).logits.float()
        loss = BaselineObjective(OBJECTIVES["survival"], TrainingConfig()).loss(model.train(), items)
    loss.total.backward()
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max().clamp(min=1)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_settings_survive_being_recorded(name: str) -> None:
    import json

    model = catalogue.find(name)
    config = network_settings(model)
    assert network_settings(model, json.loads(json.dumps(asdict(config)))) == config


def test_unknown_names_settings_and_magnifications_are_refused() -> None:
    with pytest.raises(InputError, match="is unknown"):
        catalogue.find("abmill")
    abmil = catalogue.find("abmil")
    with pytest.raises(InputError, match=r"abmil\.widht"):
        network_settings(abmil, {"widht": 3})
    for wrong in (["40x"], [], ["10x", "10x"]):
        with pytest.raises(InputError, match="magnifications"):
            network_settings(abmil, {"magnifications": wrong})
    with pytest.raises(ValueError, match="parallell'; known: tumor, tme, concat, parallel"):
        small_cohort.small("snn", genes="parallell")


@pytest.mark.parametrize("counts", [{"x": 6}, {"x": 4, "y": 5, "z": 3}])
@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_subspaces_is_read_and_all_of_their_genes_count(
    name: str, counts: dict[str, int]
) -> None:
    sizes = small_cohort.sizes(**counts)
    model, items = small_cohort.small(name, sizes), small_cohort.batch(sizes=sizes)
    objective = BaselineObjective(OBJECTIVES["classes"], TrainingConfig())
    objective.loss(model, items).total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    shares = objective.coordinate(model)
    assert shares is None if name != "sml" else shares in (0.0, 1.0)
    if "expression" in catalogue.find(name).predicts_from:
        answer = model.eval()(items).logits
        for subspace, values in items.genes.items():
            changed = replace(items, genes=items.genes | {subspace: values + 1})
            assert not torch.allclose(model(changed).logits, answer)
