"""The configuration names everything that is wrong with it, at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pathduet.cohort.tasks import tasks_of
from pathduet.core import config as configuration
from pathduet.core.errors import InputError
from pathduet.workflow import config_checks


@pytest.fixture
def minimal() -> dict[str, Any]:
    return {
        "preset": "glioma",
        "sheets": {"slides": "slides.tsv", "patients": "patients.tsv"},
        "cohorts": {"internal": ["a"]},
        "expression": {"tables": [{"cohort": "a", "path": "x.tsv", "unit": "counts"}]},
    }


def problems(value: dict[str, Any], *, paths: bool = False) -> list[str]:
    with pytest.raises(InputError) as caught:
        config_checks.check(configuration.resolve(value), paths=paths)
    return [str(problem) for problem in caught.value.problems]


def test_defaults_are_filled_in_at_every_depth(minimal: dict[str, Any]) -> None:
    config = configuration.resolve(minimal)
    assert config["slides"]["min_tiles"] == 1
    assert config["encoder"]["name"] == "resnet50"
    assert config["expression"]["hvg_fraction"] == 0.3
    assert config["cohorts"]["external"] == []


def test_resolving_twice_changes_nothing(minimal: dict[str, Any]) -> None:
    once = configuration.resolve(minimal)
    assert configuration.resolve(once) == once


def test_every_problem_is_listed_not_just_the_first(minimal: dict[str, Any]) -> None:
    minimal["slidez"] = {}
    minimal["slides"] = {"min_tissue": 3, "tile_pixels": 224}
    minimal["seed"] = "one"
    found = problems(minimal)
    for expected in ("slidez: unknown key", "slides.tile_pixels: unknown key", "slides.min_tissue", "seed"):
        assert any(line.startswith(expected) for line in found), (expected, found)


def test_contradictions_are_named(minimal: dict[str, Any]) -> None:
    minimal["cohorts"] = {"internal": ["a", "b"], "external": ["a"]}
    minimal["model"] = {"tokens": 150}
    text = "\n".join(problems(minimal))
    assert "'a' is both internal and external" in text
    assert "use 144 or 169" in text


def test_missing_files_are_named_with_their_key(minimal: dict[str, Any], tmp_path: Path) -> None:
    there = tmp_path / "slides.tsv"
    there.touch()
    minimal["sheets"]["slides"] = str(there)
    found = problems(minimal, paths=True)
    assert any(line.startswith("sheets.patients: no file 'patients.tsv'") for line in found)
    assert any(line.startswith("expression.tables[0].path: no file 'x.tsv'") for line in found)
    assert not any("sheets.slides" in line for line in found)


def test_a_misspelt_key_is_answered_with_the_one_that_was_meant(minimal: dict[str, Any]) -> None:
    found = problems(minimal | {"training": {"teacher": {"learnig_rate": 1e-4}}})
    assert found[0].startswith("training.teacher.learnig_rate: unknown key; did you mean learning_rate?")


def test_a_missing_key_is_named_with_what_it_is_for(minimal: dict[str, Any]) -> None:
    del minimal["expression"]["tables"][0]["unit"], minimal["expression"]["tables"][0]["path"]
    path, unit = problems(minimal)
    assert path.startswith("expression.tables[0].path: missing; Genes in rows")
    assert unit.startswith("expression.tables[0].unit: missing")


def test_either_sheet_may_be_left_out_but_not_both(minimal: dict[str, Any]) -> None:
    del minimal["sheets"]["patients"]
    config_checks.check(configuration.resolve(minimal), paths=False)
    del minimal["sheets"]
    (found,) = problems(minimal)
    assert found.startswith("sheets: neither slides nor patients")


def test_without_a_preset_a_run_has_the_tasks_that_it_names(minimal: dict[str, Any]) -> None:
    minimal["preset"] = None
    (found,) = problems(minimal)
    assert found.startswith("tasks: none") and "glioma" in found
    minimal["tasks"] = {"receptor": {"kind": "classification", "column": "her2"}}
    assert list(tasks_of(configuration.resolve(minimal))) == ["receptor"]


def test_a_preset_lies_under_what_is_said_and_null_takes_a_task_out(minimal: dict[str, Any]) -> None:
    minimal["tasks"] = {
        "grading": None,
        "os": {
            "kind": "survival",
            "time": "os_months",
            "event": {"column": "dead", "observed": "yes"},
            "unit": "months",
        },
    }
    minimal["subspaces"] = {"immune": "i.txt", "stroma": "s.txt", "rest": "r.txt"}
    config = configuration.resolve(minimal)
    tasks = tasks_of(config)
    assert list(tasks) == ["diagnosis", "survival", "os"]
    assert (tasks["os"].observed, tasks["os"].censored, tasks["os"].title) == ("yes", "", "OS")
    assert list(config["subspaces"]) == ["immune", "stroma", "rest"], "replaced as a whole"
    assert configuration.resolve(config) == config


def test_a_presets_regions_matter_only_to_its_own_subspaces(minimal: dict[str, Any]) -> None:
    minimal["subspaces"] = {"immune": "i.txt", "stroma": "s.txt"}
    config_checks.check(configuration.resolve(minimal), paths=False)
    minimal["explanations"] = {"regions": {"structures": {"stroma": ["LE"], "strome": ["CT"]}}}
    (found,) = problems(minimal)
    assert found.startswith("explanations.regions.structures.strome: no subspace of that name")


def test_an_unknown_preset_is_answered_with_the_one_that_was_meant(minimal: dict[str, Any]) -> None:
    (found,) = problems(minimal | {"preset": "gliomas"})
    assert "did you mean glioma?" in found


def test_a_preset_of_ones_own_is_a_file(minimal: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "breast.yaml"
    file.write_text("tasks: {receptor: {kind: classification, column: er}}\n")
    assert list(tasks_of(configuration.resolve(minimal | {"preset": str(file)}))) == ["receptor"]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"kind": "survival", "time": "t"}, "tasks.x.event: missing"),
        (
            {"kind": "regression", "column": "a", "classes": ["1", "2"]},
            "tasks.x.classes: is not for a regression",
        ),
        ({"kind": "classification", "column": "a", "ordered": True}, "tasks.x.classes: missing"),
        (
            {"kind": "classification", "column": "a", "classes": ["no", "yes"], "positive": "ja"},
            "tasks.x.positive",
        ),
        (
            {"kind": "classification", "column": "a", "derive": "who2022", "classes": ["a", "b"]},
            "tasks.x.derive",
        ),
        ({"kind": "regression", "column": "a", "clinical_baselines": ["age_sx"]}, "did you mean age_sex?"),
        ({"kind": "ranking"}, "tasks.x"),
    ],
)
def test_a_task_that_cannot_be_is_told_why(
    minimal: dict[str, Any], task: dict[str, Any], expected: str
) -> None:
    assert any(expected in line for line in problems(minimal | {"tasks": {"x": task}}))


def test_numbers_by_task_cover_every_task_and_no_other(minimal: dict[str, Any]) -> None:
    minimal["tasks"] = {"ki67": {"kind": "regression", "column": "ki67"}}
    minimal["training"] = {
        "epochs": {"survival": 3, "classification": 4},
        "teacher": {"batch_size": {"ki68": 2}},
    }
    text = "\n".join(problems(minimal))
    assert "training.epochs: nothing for task ki67" in text
    assert "training.teacher.batch_size.ki68: no task or kind of task" in text


def test_an_own_model_that_is_no_python_is_told_before_the_run_and_not_executed(
    minimal: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("slides.tsv", "patients.tsv", "x.tsv"):
        Path(name).touch()
    file = tmp_path / "mine.py"
    config = minimal | {"comparison": {"own_models": {"mine": {"file": str(file), "network": "A"}}}}
    file.write_text("import torch\nclass A(:\n")
    (found,) = problems(config, paths=True)
    assert (
        found.startswith("comparison.own_models.mine.file: ") and "mine.py, line 2: invalid syntax" in found
    )
    file.write_text("raise RuntimeError('executed')\n")
    config_checks.check(configuration.resolve(config))


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(InputError, match="'seed' appears twice"):
        configuration.read(path)


def test_overlay_merges_mappings_and_replaces_lists() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert configuration.merge(base, {"a": {"y": [3]}}) == {"a": {"x": 1, "y": [3]}, "b": 1}
    assert base["a"]["y"] == [1, 2]  # type: ignore[index]


def test_every_key_is_described_and_every_section_refuses_unknown_keys() -> None:
    def visit(path: str, part: dict[str, Any]) -> None:
        for name, rule in part.get("properties", {}).items():
            here = f"{path}.{name}"
            assert len(rule.get("description", "")) > 5, here
            inner = rule.get("items", rule) if rule.get("type") == "array" else rule
            if inner.get("type") == "object" and "properties" in inner:
                assert inner.get("additionalProperties") is False, here
                visit(here, inner)

    visit("config", configuration.schema("config"))


def test_the_defaults_name_every_key_of_the_schema() -> None:
    def keys(part: dict[str, Any], path: str = "") -> Iterator[str]:
        for name, rule in part.get("properties", {}).items():
            inner = [] if rule.get("type") == "array" else list(keys(rule, f"{path}{name}."))
            yield from inner or [f"{path}{name}"]

    networks = ("training.teacher", "training.student", "training.distilled", "training.baseline")
    for key in keys(configuration.schema("config")):
        try:
            configuration.default(key)
        except TypeError:  # what a section holds that is empty by default
            assert key.startswith("published."), key
        except KeyError:  # a network's own value of what `training` says for all
            section, _, name = key.rpartition(".")
            assert section in networks, key
            configuration.default(f"training.{name}")


def test_no_default_stands_in_the_schema(repository: Path) -> None:
    for file in (repository / "schemas").glob("*.yaml"):
        assert "default:" not in file.read_text(), file


def test_the_code_takes_its_defaults_from_the_configuration(minimal: dict[str, Any]) -> None:
    from dataclasses import asdict

    from pathduet.models.method.config import ModelConfig
    from pathduet.slides.settings import SlideSettings
    from pathduet.training.config import TrainingConfig

    config = configuration.resolve(minimal)
    assert asdict(ModelConfig()) == config["model"] | {"subspaces": tuple(config["subspaces"])}
    assert SlideSettings.from_mapping(config) == SlideSettings()
    tasks = tasks_of(config)
    assert TrainingConfig.start_values(tasks["survival"], "student").weight_decay == 0.1
    distilled = TrainingConfig.start_values(tasks["diagnosis"], "distilled")
    assert (distilled.learning_rate, distilled.batch_size, distilled.weight_decay) == (5e-4, 8, 0.01)


def test_six_keys_on_a_cohort_of_ones_own_give_the_papers_settings() -> None:
    config = configuration.resolve(
        {
            "results": "results_tcga",
            "preset": "glioma",
            "sheets": {"slides": "tcga/slides.tsv", "patients": "tcga/patients.tsv"},
            "cohorts": {"internal": ["tcga"]},
            "expression": {"tables": [{"cohort": "tcga", "path": "tcga/tpm.tsv.gz", "unit": "tpm"}]},
        }
    )
    assert (config["encoder"]["name"], config["encoder"]["stage"]) == ("resnet50", 3)
    shape = {
        key: config["model"][key] for key in ("tokens", "offset_kernel", "stride", "offset_range_points")
    }
    assert shape == {"tokens": 2500, "offset_kernel": 6, "stride": 4, "offset_range_points": 4.0}
    assert "phantom" not in yaml.safe_dump(config) and "demo" not in yaml.safe_dump(config)


def test_without_a_cohort_the_demo_is_laid_under_what_is_said() -> None:
    config = configuration.resolve({"comparison": {"models": ["snn"]}, "sheets": {"slides": None}})
    assert config["cohorts"] == {"internal": ["phantom"], "external": ["phantom_external"]}
    assert config["model"]["tokens"] == 144
    assert config["comparison"]["models"] == ["snn"]


@pytest.mark.parametrize("left_out", ["sheets", "cohorts", "expression"])
def test_a_part_of_a_cohort_is_never_completed_from_the_demo(minimal: dict[str, Any], left_out: str) -> None:
    del minimal[left_out]
    assert "phantom" not in yaml.safe_dump(configuration.resolve(minimal))


def test_a_networks_own_section_wins_over_what_is_said_for_all(minimal: dict[str, Any]) -> None:
    config = configuration.resolve(
        minimal | {"training": {"epochs": 3, "student": {"epochs": 5}, "weight_decay": {"diagnosis": 0.5}}}
    )

    def said(role: str, task: str, key: str) -> Any:
        kind = tasks_of(config)[task].kind
        return configuration.training_settings(config["training"], role, task, kind)[key]

    assert [said(role, "survival", "epochs") for role in ("teacher", "student", "baseline")] == [3, 5, 3]
    assert [said("teacher", task, "weight_decay") for task in ("diagnosis", "grading")] == [0.5, 0.1]


def test_models_that_the_catalogue_does_not_have_are_named(minimal: dict[str, Any]) -> None:
    minimal |= {"comparison": {"models": ["abml"], "settings": {"cox_age": {}}}}
    models, settings = problems(minimal)
    assert models.startswith("comparison.models: 'abml' is unknown; did you mean abmil?")
    assert settings.startswith("comparison.settings: 'cox_age' is unknown")


def test_gene_input_names_a_subspace_of_the_configuration(minimal: dict[str, Any]) -> None:
    minimal |= {
        "subspaces": {"tumor": "shipped", "tme": "shipped", "stroma": "shipped"},
        "comparison": {"settings": {"snn": {"genes": "tumour"}, "add": {"genes": "stroma"}}},
    }
    (found,) = problems(minimal)
    assert found.startswith(
        "comparison.settings.snn.genes: 'tumour' is not a subspace; use one of tumor, tme"
    )


@pytest.mark.parametrize(
    "given", [{"seed": 42.0}, {"training": {"epochs": 10.0}}, {"split": {"folds": True}}]
)
def test_a_whole_number_is_written_as_one(given: dict) -> None:
    with pytest.raises(InputError, match=r"is not of type 'integer'|is not valid"):
        configuration.resolve({"sheets": {"patients": "p.tsv"}, **given})
