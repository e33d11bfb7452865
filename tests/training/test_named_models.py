"""Named models on disk: any network through the one trainer, a user's own file, failures as holes, the plan's settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest
import torch

from pathduet.catalogue import find, names
from pathduet.core import config as configuration
from pathduet.core.errors import InputError
from pathduet.core.files import sha256_file
from pathduet.evaluation.evaluate_table import evaluate_table
from pathduet.evaluation.predictions import read_predictions
from pathduet.models.inputs import NetworkSizes
from pathduet.models.method.config import MAGNIFICATIONS
from pathduet.models.method.patch_tokens import PatchTokens
from pathduet.result_tables import ResultTable
from pathduet.results import Results
from pathduet.training import TrainingConfig, load_model, predict_model, train_model, write_representations
from pathduet.training.dataset import FeatureCache, SlideDataset
from pathduet.training.failures import failure_of, write_failed_model, write_no_predictions
from pathduet.training.fold_data import fold_samples, fold_target
from pathduet.training.networks import choose
from pathduet.training.train import start_tokens
from pathduet.workflow.plan import Plan
from pathduet.workflow.status import read_progress, write_plan
from training import fake_cohort

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples/own_model/mean_max_pool.py"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> fake_cohort.FakeCohort:
    return fake_cohort.make(tmp_path_factory.mktemp("cohort"), unpaired=("p01",))


def own(file: Path, network: str, **more: Any) -> dict[str, Any]:
    return {
        "file": str(file), "network": network, "sha256": sha256_file(file), "learns_from": ["slides"], **more,
    }  # fmt: skip


def trained(cohort: fake_cohort.FakeCohort, out: Path, choice: Any, task: str = "diagnosis") -> Path:
    training = TrainingConfig(epochs=2, batch_size=8, learning_rate=1e-3)
    train_model(fake_cohort.to_train(task, "named", training, network=choice), cohort.data(task, bins=4), out)
    return out


def predicted(cohort: fake_cohort.FakeCohort, folder: Path, task: str = "diagnosis", own: Any = None) -> Any:
    return predict_model(folder, cohort.data(task), ("train", "test"), own=own)


@pytest.mark.parametrize(
    ("base", "task"),
    [
        ("abmil", "diagnosis"),
        ("snn", "survival"),
        ("concat", "survival"),
        ("cmta", "diagnosis"),
        ("ae", "survival"),
    ],
)
def test_a_baseline_is_trained_saved_loaded_and_predicts(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, base: str, task: str
) -> None:
    folder = trained(cohort, tmp_path, choose(base, {"dropout": 0.1}), task)
    record = json.loads((folder / "model.json").read_text())
    assert (record["model"], record["base"], record["network_settings"]["dropout"]) == ("named", base, 0.1)
    cost = json.loads((folder / "cost.json").read_text())
    assert cost["seconds"] > 0 and cost["peak_memory_mib"] > 0 and cost["parameters"] == record["parameters"]
    result = predicted(cohort, folder, task)
    assert not {"expert", "risk_10x"} & set(result.table)
    assert not [name for name in result.table if name.startswith(("p10_", "p20_"))]
    # who predicts from expression predicts only those who have it
    assert ("p01" in set(result.table["patient_id"])) == (base in ("abmil", "ae"))
    if task == "diagnosis":
        chances = result.table[[name for name in result.table if name.startswith("p_")]]
        assert chances.sum(axis=1).to_numpy() == pytest.approx(1)
    write_representations(tmp_path / "representations.h5", result)
    with h5py.File(tmp_path / "representations.h5") as file:
        assert set(file) == {"slide_id", "patient_id", "representation"}
        assert file["representation"].shape[0] == len(result.table)


def test_the_example_of_an_own_model_learns_a_planted_signal(
    cohort: fake_cohort.FakeCohort, tmp_path: Path
) -> None:
    choice = choose("mean_max", {"width": 16, "dropout": 0.0}, own(EXAMPLE, "MeanMaxPool"))
    training = TrainingConfig(epochs=30, batch_size=8, learning_rate=1e-2)
    model = fake_cohort.to_train("diagnosis", "mean_max", training, network=choice)
    train_model(model, cohort.data("diagnosis"), tmp_path)
    table = predicted(cohort, tmp_path, own=choice.own).table
    train = table[table["part"] == "train"]
    assert (train["label"] == train["predicted"]).all()


@pytest.mark.parametrize("task", ["diagnosis", "survival", "size"])
def test_two_experts_of_a_baseline_are_averaged(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, task: str
) -> None:
    folder = trained(cohort, tmp_path, choose("sml", {"width": 16, "heads": 2, "offset_groups": 2}), task)
    network, description, _ = load_model(folder)
    assert set(network.experts) == {"10x", "20x"}
    table = predicted(cohort, folder, task).table.set_index("slide_id")
    data = cohort.data(task)
    samples = [s for s in data.samples(0, description.target, "test") if s.slide_id in table.index]
    batch = SlideDataset(samples, description.config, data.expression()).batch(range(len(samples)))
    with torch.no_grad():
        said = [answer.logits.double() for answer in network(batch).values()]
    assert not torch.allclose(said[0], said[1])
    if task == "diagnosis":
        expected, columns = sum(x.softmax(1) for x in said) / 2, [n for n in table if n.startswith("p_")]
    elif task == "survival":
        expected, columns = sum(x.sigmoid() for x in said) / 2, [n for n in table if n.startswith("h_")]
    else:
        expected, columns = description.target.mean + description.target.sd * sum(said) / 2, ["prediction"]
    found = table.loc[[s.slide_id for s in samples], columns].to_numpy()
    assert found == pytest.approx(expected.numpy(), abs=1e-5)


def test_an_own_model_of_a_number_is_given_the_magnification_that_the_run_has(
    cohort: fake_cohort.FakeCohort, tmp_path: Path
) -> None:
    choice = choose("mean_max", {"width": 16, "dropout": 0.0}, own(EXAMPLE, "MeanMaxPool"))
    training = TrainingConfig(epochs=15, batch_size=8, learning_rate=1e-2)
    config = replace(fake_cohort.SMALL, magnifications="20x")
    train_model(
        fake_cohort.to_train("size", "mean_max", training, config, choice), cohort.data("size"), tmp_path
    )
    table = predicted(cohort, tmp_path, "size", choice.own).table
    train = table[table["part"] == "train"]
    assert np.corrcoef(train["value"], train["prediction"])[0, 1] > 0.9


def test_own_code_runs_only_where_it_is_allowed_and_unchanged(
    cohort: fake_cohort.FakeCohort, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(EXAMPLE.read_text())
    network = choose("mine", {"width": 8}, own(file, "MeanMaxPool"))
    folder = trained(cohort, tmp_path / "model", network)
    assert network.own is not None
    other = replace(network.own, file=str(tmp_path / "other.py"))
    for configured in (None, other):
        with pytest.raises(InputError, match="a user's own network"):
            load_model(folder, configured)
    file.write_text(EXAMPLE.read_text() + "\n# edited\n")
    with pytest.raises(InputError, match="changed since the model was trained"):
        load_model(folder, network.own)


@pytest.mark.parametrize(
    ("source", "network", "found"),
    [
        ("import nowhere_to_be_found", "X", "cannot be imported: ModuleNotFoundError"),
        ("X = 3", "X", "no torch.nn.Module named 'X'"),
        (
            "from torch import nn\nclass X(nn.Module):\n    def __init__(self): pass",
            "X",
            "X cannot be created",
        ),
    ],
)
def test_a_file_that_holds_no_network_is_named(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, source: str, network: str, found: str
) -> None:
    file = tmp_path / "bad.py"
    file.write_text(source)
    with pytest.raises(InputError, match=found) as caught:
        trained(cohort, tmp_path / "model", choose("bad", {}, own(file, network)))
    assert "bad.py" in str(caught.value)


def test_a_failed_model_is_a_hole_with_its_reason_and_has_no_ensemble(tmp_path: Path) -> None:
    results = Results(tmp_path)
    model = results.model("survival", "abmil", 0)
    task = fake_cohort.TASKS["survival"].to_plain()
    write_failed_model(model, {"task": task, "model": "abmil", "fold": 0}, "ValueError: too wide")
    write_no_predictions(results.external("survival", "abmil", 0))
    assert failure_of(model) == "ValueError: too wide"
    with pytest.raises(InputError, match="its training failed: ValueError: too wide"):
        load_model(model)
    sections = ("comparison", "evaluation", "covariates")
    settings = {
        "protocol": "strict", "seed": 1, "seeds": 1, "bootstrap": 0, "tasks": {"survival": task}, "published": None,
        "catalogue": {name: configuration.default(name) for name in sections},
    }  # fmt: skip
    for external in (False, True):
        wanted = ResultTable("named", "Named", "survival", external)
        table = evaluate_table(results, wanted, [{"task": "survival", "model": "abmil"}], 1, settings)
        assert table["mean"].isna().all() and set(table["holes"]) == {"fold 0: ValueError: too wide"}
    assert read_predictions(results.ensemble("survival", "abmil") / "predictions.tsv").empty


def plan(tmp_path: Path, **changes: Any) -> Plan:
    lint = configuration.read(REPOSITORY / "tests/workflow/lint.yaml")
    return Plan.from_config(configuration.merge(lint, changes))


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def test_settings_of_the_comparison_touch_only_the_models_they_are_about(tmp_path: Path) -> None:
    before = plan(tmp_path)
    after = plan(
        tmp_path,
        comparison={"settings": {"abmil": {"width": 64}}, "models": ["abmil", "snn"], "tables": ["ablation"]},
        training={"baseline": {"epochs": 3}},
    )
    for model in ("teacher", "student", "distilled", "teacher-cgc-igc"):
        assert before.training_settings("survival", model) == after.training_settings("survival", model)
    for stages in (("tile", "stain"), ("features",)):
        assert before.stages_job(stages, "0000") == after.stages_job(stages, "0000")
    assert before.gene_settings() == after.gene_settings()
    assert after.training_settings("survival", "abmil")["network"] == {"width": 64}
    assert after.training_settings("survival", "snn")["training"]["epochs"] == 3


def test_every_seed_of_a_network_is_evaluated_and_explanations_take_the_first(tmp_path: Path) -> None:
    once, thrice = plan(tmp_path), plan(tmp_path, training={"seeds": 3})
    layout = thrice.results
    files = set(thrice.evaluated_files("survival"))
    assert {layout.model("survival", "student", 1, seed) / "predictions.tsv" for seed in range(3)} <= files
    assert len(files - set(once.evaluated_files("survival"))) == 2 * 2 * len(thrice.networks)
    regression = thrice.regressions("survival")[0]
    assert thrice.of_folds([("survival", regression)], "predictions.tsv", seeds=thrice.seeds) == [
        layout.model("survival", regression, fold) / "predictions.tsv" for fold in thrice.folds
    ]
    explained = [thrice.of_folds(p.explained_models("survival"), "predictions.tsv") for p in (once, thrice)]
    assert explained[0] == explained[1]
    assert (
        once.train_job("survival", "student").decided_by != thrice.train_job("survival", "student").decided_by
    )


def test_a_setting_of_the_method_does_not_train_baselines_again(tmp_path: Path) -> None:
    before, after = plan(tmp_path), plan(tmp_path, model={"width": 64}, training={"teacher": {"epochs": 3}})
    assert before.training_settings("survival", "abmil") == after.training_settings("survival", "abmil")
    assert before.training_settings("survival", "teacher") != after.training_settings("survival", "teacher")


def test_a_variation_resolves_to_its_base_with_its_own_change(tmp_path: Path) -> None:
    made = plan(tmp_path)
    base, arm = (made.training_settings("survival", name) for name in ("teacher", "teacher-cgc-igc"))
    assert arm["training"] == {**base["training"], "cgc": True}
    own = ("training", "may_fail")
    assert {key: arm[key] for key in arm if key not in own} == {
        key: base[key] for key in base if key not in own
    }
    assert made.learns_from("distilled-aggregation-mean") == ["teacher", "student-aggregation-mean"]
    results = made.results
    assert made.genes_of("teacher", 0) == results.genes(0)
    assert made.genes_of("teacher-hvg10", 0) == results.genes(0, "hvg10")
    assert made.gene_settings("random30")["expression"]["hvg_flavor"] == "random"
    assert [
        made.training_settings("survival", name)["may_fail"]
        for name in ("teacher", "teacher-cgc-igc", "abmil")
    ] == [False, True, True]


def test_progress_counts_the_variations_of_the_configured_tables(tmp_path: Path) -> None:
    def counted(**changes: Any) -> dict[str, int]:
        write_plan(plan(tmp_path, **changes), tmp_path)
        return {step.name: step.total for step in read_progress(tmp_path)}

    before, after = counted(), counted(comparison={"tables": ["ablation", "hvg"]})
    made = plan(tmp_path, comparison={"tables": ["ablation", "hvg"]})
    varied = [name for table in ("ablation", "hvg") for name in made.in_table(table)]
    assert set(varied) <= set(made.evaluated) and after["tables"] == before["tables"] + 2
    folds = len(made.folds)
    # a student without aggregation is in the table because the distilled one is; both are trained
    assert ("survival", "student-aggregation-mean") in made.trained
    assert after["train"] - before["train"] == folds * len(set(made.trained) - set(plan(tmp_path).trained))
    assert after["genes"] == 5 * before["genes"]  # 30 % is the configured selection


def test_an_edit_of_an_own_file_changes_its_models_settings_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("one")
    entry = {"comparison": {"own_models": {"mine": {"file": str(file), "network": "X"}}}}
    before = plan(tmp_path, **entry)
    first = {name: before.training_settings("survival", name) for name in ("mine", "abmil", "teacher")}
    file.write_text("two")
    after = plan(tmp_path, **entry)
    assert after.training_settings("survival", "mine") != first["mine"]
    for name in ("abmil", "teacher"):
        assert after.training_settings("survival", name) == first[name]
    assert "mine" in after.models("survival")


def test_own_models_need_a_file_and_a_name_of_their_own(tmp_path: Path) -> None:
    for name, found in (("abmil", "the name of another model"), ("Bad-Name", "does not match")):
        with pytest.raises(InputError, match=found):
            plan(tmp_path, comparison={"own_models": {name: {"file": str(EXAMPLE), "network": "X"}}})
    with pytest.raises(InputError, match=r"no file 'nowhere\.py'"):
        plan(tmp_path, comparison={"own_models": {"mine": {"file": "nowhere.py", "network": "X"}}})


def test_baselines_take_the_map_from_the_method_and_their_own_settings_from_the_comparison(
    tmp_path: Path,
) -> None:
    made = plan(
        tmp_path,
        model={"stride": 3, "offset_range_points": 1.5},
        comparison={"settings": {"mcat": {"gene_groups": "chunks"}}},
    )
    networks = {m: made.training_settings("survival", m)["network"] for m in ("mcat", "cmta", "sml", "abmil")}
    assert networks["mcat"] == {"gene_groups": "chunks"} and networks["cmta"] == {}
    assert (networks["sml"]["stride"], networks["sml"]["offset_range_points"]) == (3, 1.5)
    assert networks["abmil"] == {}
    for base, settings in networks.items():
        assert choose(base, settings).base == base


def test_an_edited_file_of_gene_groups_trains_again(tmp_path: Path) -> None:
    file = tmp_path / "families.gmt"
    seen = []
    for genes in ("TP53\tPTEN", "TP53\tRB1"):
        file.write_text(f"suppressors\t\t{genes}\n")
        made = plan(tmp_path, comparison={"settings": {"mcat": {"gene_groups": str(file)}}})
        seen.append(made.training_settings("survival", "mcat"))
    assert seen[0] != seen[1] and seen[0]["network"] == seen[1]["network"]


@pytest.mark.slow
def test_prototypes_are_of_the_training_parts_tiles(cohort: fake_cohort.FakeCohort) -> None:
    outcome = fold_target(fake_cohort.TASKS["diagnosis"], cohort.labels("diagnosis"), cohort.folds, 0)
    cases = fold_samples(cohort.slides, cohort.labels("diagnosis"), cohort.folds, 0, outcome)
    parts = [[c for c in cases if c.part == part] for part in ("train", "test")]
    fitted = []
    for part in (parts[0], parts[0], parts[1]):
        network = choose("mmp").build(
            NetworkSizes(fake_cohort.FEATURES, {"tumor": ("A", "B"), "tme": ("C", "D")}, 4)
        )
        start_tokens(network, SlideDataset(part, fake_cohort.SMALL, None, 16, MAGNIFICATIONS))
        fitted.append({n: t for n, t in network.state_dict().items() if n.endswith("centres")})
    assert len(fitted[0]) == 2
    for name, centres in fitted[0].items():
        assert torch.equal(centres, fitted[1][name]) and not torch.equal(centres, fitted[2][name])


@pytest.mark.parametrize("start", ["principal", "random"])
@pytest.mark.parametrize(
    "base", [n for n in names("baseline") if hasattr(find(n).load_settings(), "patch_start")]
)
def test_every_baseline_starts_its_patch_tokens_as_it_is_told(
    cohort: fake_cohort.FakeCohort, base: str, start: str
) -> None:
    outcome = fold_target(fake_cohort.TASKS["diagnosis"], cohort.labels("diagnosis"), cohort.folds, 0)
    cases = fold_samples(cohort.slides, cohort.labels("diagnosis"), cohort.folds, 0, outcome)
    dataset = SlideDataset(
        [c for c in cases if c.part == "train"], fake_cohort.SMALL, None, 16, MAGNIFICATIONS
    )
    network = choose(base, {"patch_start": start}).build(
        NetworkSizes(fake_cohort.FEATURES, {"tumor": ("A", "B"), "tme": ("C", "D")}, 4)
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start_tokens(network, dataset)
    moments = dataset.feature_moments()
    blocks = {n: block for n, block in network.named_modules() if isinstance(block, PatchTokens)}
    axes = dataset.feature_axes(moments, min(block.pairs for block in blocks.values()))
    assert sorted(name[-3:] for name in blocks) == ["10x", "20x"]
    for name, block in blocks.items():
        mean, sd = moments[name[-3:]]
        assert torch.allclose(block.mean, mean) and torch.allclose(block.scale, 1 / sd)
        if start == "principal":
            assert torch.equal(block.linear.weight[: len(axes[name[-3:]])], axes[name[-3:]])
        else:
            assert torch.equal(block.linear.weight, before[f"{name}.linear.weight"])


@pytest.mark.slow
def test_principal_axes_are_computed_once_for_the_same_slides(
    cohort: fake_cohort.FakeCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = fold_target(fake_cohort.TASKS["diagnosis"], cohort.labels("diagnosis"), cohort.folds, 1)
    cases = fold_samples(cohort.slides, cohort.labels("diagnosis"), cohort.folds, 1, outcome)
    sizes = NetworkSizes(fake_cohort.FEATURES, {"tumor": ("A", "B"), "tme": ("C", "D")}, 4)
    computed, really, cache = [], SlideDataset._axes, FeatureCache()
    monkeypatch.setattr(
        SlideDataset, "_axes", lambda self, *told: computed.append(self) or really(self, *told)
    )
    for part in ("train", "test", "train"):
        cases_of = [c for c in cases if c.part == part]
        dataset = SlideDataset(cases_of, fake_cohort.SMALL, None, 16, MAGNIFICATIONS, cache=cache)
        network = choose("mcat", {"patch_start": "principal"}).build(sizes)
        start_tokens(network, dataset)
        moments = SlideDataset(cases_of, fake_cohort.SMALL).feature_moments()
        for name, block in network.named_modules():
            if isinstance(block, PatchTokens):
                axes = really(dataset, name[-3:], *moments[name[-3:]], block.pairs)
                assert torch.equal(block.linear.weight[: len(axes)], axes)
    assert [len(one) for one in computed] == [
        sum(c.part == part for c in cases) for part in ("train", "test") for _ in MAGNIFICATIONS
    ]


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(InputError, match="patch_start"):
        choose("mcat", {"patch_start": "centre"})


@pytest.mark.parametrize("base", ["mcat", "cmta"])
def test_gene_groups_from_a_file_come_back_with_the_trained_model(
    cohort: fake_cohort.FakeCohort, tmp_path: Path, base: str
) -> None:
    matrix = anndata.read_h5ad(cohort.expression)
    genes = list(matrix.var_names)
    # neither in the order of their names nor of one size
    (tmp_path / "families.gmt").write_text(
        "\n".join(
            [
                "\t".join(["z", "", *genes[:3]]),
                "\t".join(["b", "", *genes[2:7]]),
                "\t".join(["m", "", *genes[1:5]]),
            ]
        )
    )
    choice = choose(base, {"gene_groups": str(tmp_path / "families.gmt"), "dropout": 0.0})
    folder = trained(cohort, tmp_path / "model", choice)
    (tmp_path / "families.gmt").unlink()
    assert list(json.loads((folder / "model.json").read_text())["network_settings"]["gene_groups"]) == [
        "b",
        "m",
        "z",
    ]
    network, _, _ = load_model(folder)
    for expert in network.experts.values():
        sizes = [branch[0].in_features for branch in expert.genes.branches]
        assert sizes[:3] == [5, 4, 3]
    assert predicted(cohort, folder).table["p_glioblastoma"].notna().any()


def test_released_networks_are_left_out_where_there_are_not_two_subspaces(tmp_path: Path) -> None:
    compared = {"models": ["released_teacher", "snn"]}
    three = dict.fromkeys(("tumor", "tme", "stroma"), "shipped")
    made = plan(tmp_path, comparison=compared, subspaces=three)
    assert made.left_out == {"released_teacher": "made for two subspaces"}
    assert "released_teacher" not in made.networks
    assert plan(tmp_path, comparison=compared).left_out == {}
