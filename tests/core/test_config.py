"""The configuration names everything that is wrong with it, at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pathduet.core import config as configuration
from pathduet.core.errors import InputError
from pathduet.workflow import config_checks


@pytest.fixture
def minimal() -> dict[str, Any]:
    return {
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
    assert config["slides"]["tile_px"] == 224
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
    assert "no table for the internal cohort 'b'" in text
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
    del minimal["cohorts"], minimal["sheets"]["patients"]
    cohorts, patients = problems(minimal)
    described = configuration.schema("config")["properties"]["cohorts"]["properties"]["internal"][
        "description"
    ]
    assert cohorts.startswith("cohorts.internal: missing") and described in cohorts
    assert patients.startswith("sheets.patients: missing")


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
    with pytest.raises(InputError, match="'seed' stands twice"):
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
    assert asdict(ModelConfig()) == config["model"]
    assert SlideSettings.from_mapping(config) == SlideSettings()
    assert TrainingConfig.start_values("survival", "student").weight_decay == 0.1
    distilled = TrainingConfig.start_values("diagnosis", "distilled")
    assert (distilled.learning_rate, distilled.batch_size, distilled.weight_decay) == (5e-4, 8, 0.01)


def test_five_keys_on_a_cohort_of_ones_own_give_the_papers_settings() -> None:
    config = configuration.resolve(
        {
            "results": "results_tcga",
            "sheets": {"slides": "tcga/slides.tsv", "patients": "tcga/patients.tsv"},
            "cohorts": {"internal": ["tcga"]},
            "expression": {"tables": [{"cohort": "tcga", "path": "tcga/tpm.tsv.gz", "unit": "tpm"}]},
        }
    )
    assert (config["encoder"]["name"], config["encoder"]["stage"]) == ("resnet50", 3)
    shape = {key: config["model"][key] for key in ("tokens", "offset_kernel", "stride", "offset_range")}
    assert shape == {"tokens": 2500, "offset_kernel": 6, "stride": 4, "offset_range": 4.0}
    assert "phantom" not in yaml.safe_dump(config) and "demo" not in yaml.safe_dump(config)


def test_without_a_cohort_the_demo_is_laid_under_what_is_said() -> None:
    config = configuration.resolve({"comparison": {"models": ["snn"]}, "sheets": {"slides": None}})
    assert config["cohorts"] == {"internal": ["phantom"], "external": ["phantom_external"]}
    assert config["model"]["tokens"] == 144
    assert config["comparison"]["models"] == ["snn"]


@pytest.mark.parametrize("left_out", ["sheets", "cohorts", "expression"])
def test_a_part_of_a_cohort_is_never_completed_from_the_demo(minimal: dict[str, Any], left_out: str) -> None:
    del minimal[left_out]
    found = problems(minimal)
    assert found and all(line.startswith(left_out) and "missing" in line for line in found)


def test_a_networks_own_section_wins_over_what_is_said_for_all(minimal: dict[str, Any]) -> None:
    config = configuration.resolve(
        minimal | {"training": {"epochs": 3, "student": {"epochs": 5}, "weight_decay": {"diagnosis": 0.5}}}
    )

    def said(role: str, task: str, key: str) -> Any:
        return configuration.training_settings(config["training"], role, task)[key]

    assert [said(role, "survival", "epochs") for role in ("teacher", "student", "baseline")] == [3, 5, 3]
    assert [said("teacher", task, "weight_decay") for task in ("diagnosis", "grading")] == [0.5, 0.1]


def test_models_that_the_catalogue_does_not_have_are_named(minimal: dict[str, Any]) -> None:
    minimal |= {"comparison": {"models": ["abml"], "settings": {"cox_age": {}}}}
    models, settings = problems(minimal)
    assert models.startswith("comparison.models: 'abml' is unknown; did you mean abmil?")
    assert settings.startswith("comparison.settings: 'cox_age' is unknown")
