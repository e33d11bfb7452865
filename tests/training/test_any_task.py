"""Regression, any number of subspaces, patients without slides and runs without expression: trained, distilled, predicted."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import fake_cohort
import numpy as np
import pandas as pd
import pytest
import torch

from pathduet.cohort.folds import write_folds
from pathduet.cohort.labels import TRUTH
from pathduet.cohort.tasks import Task
from pathduet.core.errors import InputError
from pathduet.core.files import sha256_file, write_tsv
from pathduet.models.inputs import Answer
from pathduet.results import Results
from pathduet.training import TrainingConfig, load_model, predict_model, train_model, write_representations
from pathduet.training.failures import failure_of, write_failed_model
from pathduet.training.fold_data import FoldData, fold_samples, fold_target
from pathduet.training.fold_jobs import FoldJob, run_fold
from pathduet.training.networks import choose
from pathduet.training.prototype_order import all_orders, consistent_scorer, order_evidence
from pathduet.training.task_targets import ClassTarget, Observed, RegressionTarget, SurvivalTarget, target_of

HARD = {"epochs": 30, "learning_rate": 1e-2, "weight_decay": 0.0, "batch_size": 4, "inner_folds": 0}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> fake_cohort.FakeCohort:
    return fake_cohort.make(tmp_path_factory.mktemp("cohort"), unpaired=("p01",))


def train(
    cohort: fake_cohort.FakeCohort, out: Path, model: str, task: str = "size", config: Any = None, **more: Any
) -> Path:
    sources = {name: more.pop(name) for name in ("teacher_dir", "student_dir", "network") if name in more}
    training = TrainingConfig(**{**HARD, **more})
    made = fake_cohort.to_train(task, model, training, config or fake_cohort.SMALL, **sources)
    train_model(made, cohort.data(task), out, device="cpu")
    return out


def history(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "history.tsv", sep="\t")


@pytest.mark.slow
def test_a_number_is_learned_in_its_own_unit_and_distilled(
    cohort: fake_cohort.FakeCohort, tmp_path: Path
) -> None:
    teacher = train(cohort, tmp_path / "teacher", "teacher", cgc=True)
    student = train(cohort, tmp_path / "student", "student", epochs=45)
    distilled = train(
        cohort, tmp_path / "distilled", "distilled", teacher_dir=teacher, student_dir=student, epochs=45
    )
    target = load_model(teacher)[1].target
    known = cohort.size["value"].to_numpy()[:12][np.arange(12) % 3 != 0]
    assert target == RegressionTarget(pytest.approx(known.mean()), pytest.approx(known.std()))
    for folder in (teacher, student, distilled):
        # the distilled student starts where the student ended
        start = history(student if folder == distilled else folder)["task"].iloc[0]
        assert history(folder)["task"].iloc[-1] < 0.1 * start
        seen = predict_model(folder, cohort.data("size"), "train", device="cpu").table
        assert (seen["prediction"] - seen["value"]).abs().max() < 0.5 * known.std()
        assert np.allclose(seen["prediction"], seen[["prediction_10x", "prediction_20x"]].mean(axis=1))
        table = predict_model(folder, cohort.data("size"), device="cpu").table
        assert np.corrcoef(table["prediction"], table["value"])[0, 1] > 0.5
        assert list(table)[5:] == ["value", "prediction", "prediction_10x", "prediction_20x"]
    assert history(teacher)["conflict_rate"].between(0, 1).all()
    assert history(distilled)["kl"].iloc[-1] < history(distilled)["kl"].iloc[0]


@pytest.mark.parametrize("base", ["abmil", "snn", "mcat", "cmta", "sml", "ae"])
def test_baselines_predict_numbers(cohort: fake_cohort.FakeCohort, tmp_path: Path, base: str) -> None:
    folder = train(cohort, tmp_path, base, epochs=2)
    table = predict_model(folder, cohort.data("size"), ("train", "external"), device="cpu").table
    assert np.isfinite(table["prediction"]).all() and "prediction_10x" not in table


def test_moments_come_from_the_training_part_and_a_constant_is_refused(
    cohort: fake_cohort.FakeCohort,
) -> None:
    def target(labels: pd.DataFrame, protocol: str = "strict") -> Any:
        return fold_target(fake_cohort.TASKS["size"], labels, cohort.folds, 0, protocol=protocol)

    changed = cohort.size.copy()
    changed.loc[["p00", "x0"], "value"] = 1e6
    assert target(changed) == target(cohort.size)
    assert target(changed, "paper").mean > 1e4
    with pytest.raises(InputError, match="task size, training part of fold 0: 8 patients with a value, all"):
        target(cohort.size.assign(value=3.0))
    with pytest.raises(InputError, match="no patient with a value"):
        target(fake_cohort.without_label(cohort.size, list(cohort.size.index)))


def test_loss_confidence_and_divergence_of_a_number_by_hand() -> None:
    target = RegressionTarget(10.0, 4.0)
    said, observed = torch.tensor([[0.5], [-1.0]]), torch.tensor([1.5, -1.0])
    seen = Observed(torch.zeros(2, dtype=torch.int64), torch.zeros(2), observed)
    assert float(target.loss(said, seen)) == pytest.approx((1.0**2 + 0) / 2 / 2)
    assert target.probability(said, seen).tolist() == pytest.approx([math.exp(-0.5), 1.0])
    taught = torch.tensor([[0.5], [1.0]])
    assert float(target.divergence(said, taught, 2.0)) == pytest.approx(2.0**2 / 2 / 2)
    assert target.divergence(said, taught, 2.0) == target.divergence(said, taught, 7.0)
    assert seen.of(torch.tensor([False, True])).value.tolist() == [-1.0]


@pytest.mark.parametrize(
    "target", [ClassTarget(("b", "a")), SurvivalTarget((1.5, 200.0)), RegressionTarget(0.1, 2.5)]
)
def test_targets_come_back_from_json(target: Any) -> None:
    assert target_of(json.loads(json.dumps(target.to_plain()))) == target


@pytest.mark.parametrize("names", [("only",), ("zeta", "alpha", "mid")])
def test_one_and_three_subspaces_train_are_distilled_and_keep_their_order(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    genes = dict(zip(names, (4, 5, 6)))
    cohort = fake_cohort.make(tmp_path / "cohort", genes_of=genes)
    config = dataclasses.replace(fake_cohort.SMALL, subspaces=names)
    common = {"task": "diagnosis", "config": config, "epochs": 1}
    teacher = train(cohort, tmp_path / "teacher", "teacher", **common)
    student = train(cohort, tmp_path / "student", "student", **common)
    sources = {"teacher_dir": teacher, "student_dir": student}
    distilled = train(cohort, tmp_path / "distilled", "distilled", **common, **sources)
    for folder in (teacher, student, distilled):
        found = predict_model(folder, cohort.data("diagnosis"), device="cpu")
        assert found.representations["10x"].shape == (len(found.table), 16 * len(names))
        write_representations(tmp_path / "r.h5", found)
    description = load_model(teacher)[1]
    assert list(description.genes) == list(names) == list(description.config.subspaces)
    assert {name: len(known) for name, known in description.genes.items()} == genes
    row = history(distilled).iloc[-1]
    assert row["mse"] > 0 and (row["order"] > 0) == (len(names) > 1)
    with pytest.raises(InputError, match=r"genes of .*, subspaces tumor, tme"):
        train(cohort, tmp_path / "other", "teacher", "diagnosis", epochs=1)
    for base in ("snn", "sml"):
        baseline = train(cohort, tmp_path / base, base, "diagnosis", epochs=1)
        assert list(load_model(baseline)[1].genes) == list(names)


def test_the_authors_networks_have_two_subspaces() -> None:
    shape = {"tokens": 16, "subspaces": ["a", "b", "c"]}
    with pytest.raises(InputError, match=r"model released_teacher: .*two subspaces"):
        choose("released_teacher").token_config(shape)


def test_prototypes_find_the_subspace_whose_genes_move_with_them() -> None:
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(80, 3, generator=generator)
    tissue = torch.einsum("nk,kc->nkc", latent, torch.randn(3, 8, generator=generator))
    tissue = tissue + 0.3 * torch.randn(80, 3, 8, generator=generator)
    genes = [latent[:, [k]] + torch.randn(80, 12, generator=generator) for k in range(3)]
    for order in all_orders(3):
        fits = order_evidence(tissue, [genes[order.index(k)] for k in range(3)])
        assert max(fits, key=lambda found: fits[found]) == tuple(order.index(k) for k in range(3))


def test_three_kinds_of_tissue_are_told_apart_alike_on_every_slide() -> None:
    from pathduet.models.method.subspace_order import best_order

    generator = torch.Generator().manual_seed(1)
    kinds = 3 * torch.randn(3, 12, generator=generator)
    shuffled = torch.stack(
        [torch.randperm(3, generator=generator) for _ in range(60)]
    )  # kind of each prototype
    given = kinds[shuffled] + torch.randn(60, 1, 12, generator=generator)
    given = given + 0.3 * torch.randn(60, 3, 12, generator=generator)
    scorer = consistent_scorer(given, torch.zeros(2, 12))
    assert scorer is not None
    order = best_order(torch.nn.functional.pad(given @ scorer.T, (0, 1)))
    found = shuffled.gather(1, order)
    assert (found == found[0]).all() and sorted(found[0].tolist()) == [0, 1, 2]
    nearest = kinds[torch.tensor([2, 0, 1])]
    again = consistent_scorer(given, nearest[:-1] - nearest[-1])
    assert again is not None
    order = best_order(torch.nn.functional.pad(given @ again.T, (0, 1)))
    assert shuffled.gather(1, order)[0].tolist() == [2, 0, 1], "numbered as the scorer before had them"


class GenesAlone(torch.nn.Module):
    """A user's network of expression alone."""

    def __init__(self, sizes: Any) -> None:
        super().__init__()
        assert sizes.feature_dim == 0
        self.layer = torch.nn.Linear(sum(map(len, sizes.genes.values())), sizes.outputs)

    def forward(self, inputs: Any) -> Answer:
        joined = torch.cat(list(inputs.genes.values()), dim=1)
        return Answer(self.layer(joined), joined)


def own_network() -> Any:
    from pathduet.core.files import sha256_file

    entry = {"file": __file__, "network": "GenesAlone", "sha256": sha256_file(__file__)}
    return choose("mine", {}, {**entry, "learns_from": ["expression"], "predicts_from": ["expression"]})


@pytest.mark.parametrize("base", ["snn", "mine"])
def test_a_network_of_expression_alone_takes_patients_without_slides(tmp_path: Path, base: str) -> None:
    lost = ("p00", "p02", "p08", "x1")
    cohort = fake_cohort.make(tmp_path / "cohort", unpaired=("p01",), without_slides=lost)
    network = own_network() if base == "mine" else None
    for path in cohort.slides["features"]:
        Path(path).unlink()  # not looked at
    folder = train(cohort, tmp_path / "model", base, "diagnosis", network=network)
    record = json.loads((folder / "model.json").read_text())
    assert record["encoder"] == {} and record["training_part"]["patients_without_slides"] == 2
    assert record["training_part"]["patients"] == 7 and record["training_part"]["slides"] == 5
    found = predict_model(
        folder,
        cohort.data("diagnosis"),
        ("train", "test", "external"),
        device="cpu",
        own=network and network.own,
    )
    table = found.table
    assert table["patient_id"][table["slide_id"] == ""].tolist() == sorted(lost)
    assert list(table["slide_id"])[-4:] == [""] * 4, "after the slides"
    assert table.set_index("patient_id")["part"][list(lost)].tolist() == [
        "test",
        "train",
        "train",
        "external",
    ]
    assert len(found.representations["representation"]) == len(table) and "p01" not in set(
        table["patient_id"]
    )
    train_part = table[table["part"] == "train"]
    assert (train_part["label"] == train_part["predicted"]).mean() > 0.6


def test_models_of_slides_do_not_see_patients_without_any(tmp_path: Path) -> None:
    cohort = fake_cohort.make(tmp_path / "cohort", without_slides=("p00", "p02"))
    for base in ("teacher", "student", "concat"):
        folder = train(cohort, tmp_path / base, base, "diagnosis", epochs=1)
        table = predict_model(folder, cohort.data("diagnosis"), ("train", "test"), device="cpu").table
        assert not {"p00", "p02"} & set(table["patient_id"]) and (table["slide_id"] != "").all()


def test_a_loss_that_is_not_finite_names_the_patient(tmp_path: Path) -> None:
    from pathduet.training import TrainingError

    cohort = fake_cohort.make(tmp_path / "cohort", without_slides=("p02",))
    cohort.size.loc["p02", "value"] = np.inf
    made = fake_cohort.to_train("size", "snn", TrainingConfig(epochs=1, batch_size=1))
    made = dataclasses.replace(made, target=RegressionTarget(0.0, 1.0))
    with pytest.raises(TrainingError, match="at slides p02;"):
        train_model(made, cohort.data("size"), tmp_path / "model", device="cpu")


MONTHS = Task.of("os", {"kind": "survival", "time": "months", "event": "dead", "unit": "months", "bins": 2})
STAGE = Task.of(
    "stage", {"kind": "classification", "column": "stage", "classes": ["I", "II", "III"], "ordered": True}
)
SIZE = fake_cohort.TASKS["size"]


def run_folder(root: Path, cohort: fake_cohort.FakeCohort, slides: bool) -> Path:
    """Lay a cohort out as a run has it, its labels in the patients' sheet; return the sheet."""
    results = Results(root)
    write_folds(results.folds, cohort.folds.assign(stratum=""))
    used = cohort.slides if slides else cohort.slides.iloc[:0]
    columns = ["slide_id", "patient_id", "cohort", "status", "n_10x", "n_20x"]
    write_tsv(results.ledger, used.assign(status="ok").reindex(columns=columns))
    for slide, path in zip(used["slide_id"], used["features"]):
        results.features(slide).parent.mkdir(parents=True)
        Path(path).rename(results.features(slide))
    kind = np.arange(len(cohort.size)) % 4
    sheet = pd.DataFrame(
        {
            "patient_id": cohort.size.index, "months": 60 - 12 * kind + np.arange(len(kind)) / 10, "dead": 1,
            "stage": [["I", "II", "III", "III"][k] for k in kind], "size_mm": cohort.size["value"].to_numpy(),
        }
    )  # fmt: skip
    path = root / "patients.tsv"
    write_tsv(path, sheet)
    return path


def settings(base: str, search: bool = False) -> dict[str, Any]:
    """What the plan hands to a job."""
    ranges = {"learning_rate": [1e-3, 1e-2], "weight_decay": [1e-3, 1e-1], "dropout": [0.0, 0.3]}
    shape = dataclasses.asdict(fake_cohort.SMALL)
    return {
        "protocol": "strict", "seed": 1, "base": base, "seeds": 1, "may_fail": False, "network": {}, "own": None, "lineage": {},
        "model": shape if base == "student" else {"tokens": 16, "token_order": "hilbert"},
        "training": {"epochs": 5, "batch_size": 4, "learning_rate": 1e-2}, "logger": "none",
        "search": {"trials": 2, "inner_fraction": 0.3, **ranges} if search else None,
    }  # fmt: skip


@pytest.mark.parametrize("task", [MONTHS, STAGE, SIZE], ids=lambda task: task.name)
def test_a_run_without_slides(tmp_path: Path, task: Task) -> None:
    cohort = fake_cohort.make(tmp_path / "cohort")
    patients = run_folder(tmp_path / "run", cohort, slides=False)
    job = FoldJob(task, "snn", 0, tmp_path / "run", patients, cohort.expression, external=True)
    run_fold(job, settings("snn", search=True))
    table = pd.read_csv(job.model_dir() / "predictions.tsv", sep="\t", keep_default_na=False)
    assert table["patient_id"].tolist() == ["p00", "p03", "p06", "p09"] and (table["slide_id"] == "").all()
    outside = pd.read_csv(job.external_dir() / "predictions.tsv", sep="\t")
    assert outside["patient_id"].tolist() == ["x0", "x1"]
    # models know no label of an external patient
    assert outside[list(TRUTH[task.kind])].isna().all(axis=None)
    _, description, record = load_model(job.model_dir())
    assert description.task == task and record["format"] == 3 and record["search"]["failed_trials"] == 0
    if task is MONTHS:  # days inside, whatever the unit of the sheet
        days = pd.read_csv(patients, sep="\t").set_index("patient_id")["months"] * 30.4375
        training = days[[p for i, p in enumerate(cohort.size.index[:12]) if i % 3]]
        assert description.target.edges == pytest.approx([training.median()])
        assert table["survival_days"].to_numpy() == pytest.approx(days[table["patient_id"]].to_numpy())


@pytest.mark.slow
def test_every_seed_trains_anew_what_it_learns_from_too(tmp_path: Path) -> None:
    cohort = fake_cohort.make(tmp_path / "cohort")
    patients = run_folder(tmp_path / "run", cohort, slides=True)
    twice = settings("student") | {"seeds": 2}
    twice["training"] = twice["training"] | {"epochs": 1}
    job = FoldJob(SIZE, "student", 0, tmp_path / "run", patients, None, external=True)
    run_fold(job, twice)
    longer = dataclasses.replace(job, model="student_longer")
    run_fold(longer, twice | {"base": "student_longer", "lineage": {"student": "student"}})
    for one in (job, longer):
        folders = [one.model_dir(seed) for seed in range(2)]
        assert folders[1] == folders[0] / "seed-1" and (one.external_dir(1) / "predictions.tsv").is_file()
        first, second = (pd.read_csv(folder / "predictions.tsv", sep="\t") for folder in folders)
        assert first["patient_id"].equals(second["patient_id"])
        assert not np.allclose(first["prediction"], second["prediction"])
        assert [load_model(folder)[2]["training_config"]["seed"] for folder in folders] == [1, 2]
    students = [sha256_file(job.model_dir(seed) / "weights.safetensors") for seed in range(2)]
    assert [load_model(longer.model_dir(seed))[2]["student_sha256"] for seed in range(2)] == students
    write_failed_model(job.model_dir(1), job.who, "ValueError: too wide")
    run_fold(
        dataclasses.replace(longer, may_fail=True),
        twice | {"base": "student_longer", "lineage": {"student": "student"}},
    )
    assert all("too wide" in str(failure_of(longer.model_dir(seed))) for seed in range(2))


@pytest.mark.parametrize("base", ["student", "abmil"])
@pytest.mark.parametrize("task", [MONTHS, SIZE], ids=lambda task: task.name)
def test_a_run_without_expression(tmp_path: Path, base: str, task: Task) -> None:
    cohort = fake_cohort.make(tmp_path / "cohort")
    patients = run_folder(tmp_path / "run", cohort, slides=True)
    job = FoldJob(task, base, 0, tmp_path / "run", patients, None, external=True)
    run_fold(job, settings(base, search=base == "abmil"))
    table = pd.read_csv(job.model_dir() / "predictions.tsv", sep="\t")
    assert set(table["patient_id"]) == {"p00", "p03", "p06", "p09"} and len(table) == 8
    assert load_model(job.model_dir())[1].genes == {}


def test_slides_stand_before_the_patients_who_have_none(tmp_path: Path) -> None:
    from pathduet.expression.fold_matrix import load

    cohort = fake_cohort.make(tmp_path, without_slides=("p05", "p04"))
    assert cohort.expression is not None
    matrix, target = load(cohort.expression), ClassTarget(fake_cohort.KINDS)
    labels = fake_cohort.without_label(cohort.diagnosis, ["p04"])
    found = fold_samples(cohort.slides, labels, cohort.folds, 0, target, matrix)
    plain = fold_samples(cohort.slides, labels, cohort.folds, 0, target)
    assert found[:-2] == plain
    assert [(s.patient_id, s.part, s.features, s.label) for s in found[-2:]] == [
        ("p04", "train", None, -1), ("p05", "train", None, 1),
    ]  # fmt: skip
    nobody = FoldData(fake_cohort.TASKS["diagnosis"], cohort.slides.iloc[:0], labels, cohort.folds)
    assert [s.patient_id for s in nobody.samples(0, target, "external", expression=matrix)] == ["x0", "x1"]
