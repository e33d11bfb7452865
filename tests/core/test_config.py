"""The configuration names everything that is wrong with it, at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pathduet.core import config as configuration
from pathduet.core.errors import InputError


@pytest.fixture
def minimal() -> dict[str, Any]:
    return {
        "sheets": {"slides": "slides.tsv", "patients": "patients.tsv"},
        "cohorts": {"internal": ["a"]},
        "expression": {"tables": [{"cohort": "a", "path": "x.tsv", "unit": "counts"}]},
    }


def problems(value: dict[str, Any], **options: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        configuration.resolve(value, **options)
    return [str(problem) for problem in caught.value.problems]


def test_defaults_are_filled_in_at_every_depth(minimal: dict[str, Any]) -> None:
    config = configuration.resolve(minimal, check_paths=False)
    assert config["slides"]["tile_px"] == 224
    assert config["encoder"]["name"] == "resnet50"
    assert config["expression"]["hvg_fraction"] == 0.3
    assert config["cohorts"]["external"] == []
    assert config["expression"]["tables"][0]["samples"] is None  # in lists, too


def test_resolving_twice_changes_nothing(minimal: dict[str, Any]) -> None:
    once = configuration.resolve(minimal, check_paths=False)
    assert configuration.resolve(once, check_paths=False) == once


def test_every_problem_is_listed_not_just_the_first(minimal: dict[str, Any]) -> None:
    minimal["slidez"] = {}
    minimal["slides"] = {"min_tissue": 3, "tile_pixels": 224}
    minimal["seed"] = "one"
    found = problems(minimal, check_paths=False)
    for expected in ("slidez: unknown key", "slides.tile_pixels: unknown key", "slides.min_tissue", "seed"):
        assert any(line.startswith(expected) for line in found), (expected, found)


def test_contradictions_are_named(minimal: dict[str, Any]) -> None:
    minimal["cohorts"] = {"internal": ["a", "b"], "external": ["a"]}
    minimal["model"] = {"tokens": 150}
    text = "\n".join(problems(minimal, check_paths=False))
    assert "'a' is both internal and external" in text
    assert "no table for the internal cohort 'b'" in text
    assert "use 144 or 169" in text


def test_missing_files_are_named_with_their_key(minimal: dict[str, Any], tmp_path: Path) -> None:
    there = tmp_path / "slides.tsv"
    there.touch()
    minimal["sheets"]["slides"] = str(there)
    found = problems(minimal)
    assert any(line.startswith("sheets.patients: no file 'patients.tsv'") for line in found)
    assert any(line.startswith("expression.tables[0].path: no file 'x.tsv'") for line in found)
    assert not any("sheets.slides" in line for line in found)


def test_a_misspelt_key_is_answered_with_the_one_that_was_meant(minimal: dict[str, Any]) -> None:
    found = problems(minimal | {"training": {"teacher": {"learnig_rate": 1e-4}}}, check_paths=False)
    assert found[0].startswith("training.teacher.learnig_rate: unknown key; did you mean learning_rate?")


def test_a_missing_key_is_named_with_what_it_is_for(minimal: dict[str, Any]) -> None:
    del minimal["cohorts"], minimal["sheets"]["patients"]
    cohorts, patients = problems(minimal, check_paths=False)
    described = configuration.schema("config")["properties"]["cohorts"]["description"]
    assert cohorts.startswith("cohorts: missing") and described in cohorts
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
    (found,) = problems(config)
    assert (
        found.startswith("comparison.own_models.mine.file: ") and "mine.py, line 2: invalid syntax" in found
    )
    file.write_text("raise RuntimeError('executed')\n")
    assert configuration.resolve(config)["comparison"]["own_models"]["mine"]["network"] == "A"


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


def test_the_shipped_configuration_names_every_key_of_the_schema(repository: Path) -> None:
    shipped = yaml.safe_load((repository / "config.yaml").read_text())

    def keys(part: dict[str, Any], path: str = "") -> set[str]:
        found: set[str] = set()
        for name, rule in part.get("properties", {}).items():
            inner = keys(rule, f"{path}{name}.")
            found |= inner or {f"{path}{name}"}
        return found

    def given(value: Any, path: str = "") -> set[str]:
        if not isinstance(value, dict) or not value:
            return {path.rstrip(".")}
        return {key for name, part in value.items() for key in given(part, f"{path}{name}.")}

    missing = {
        key
        for key in keys(configuration.schema("config"))
        if not any(g == key or g.startswith(key + ".") or key.startswith(g + ".") for g in given(shipped))
    }
    assert not missing


def test_defaults_of_the_schema_are_those_of_the_code() -> None:
    from dataclasses import asdict

    from pathduet.models.method.config import ModelConfig
    from pathduet.slides.settings import SlideSettings
    from pathduet.training.config import TrainingConfig

    minimal = {
        "sheets": {"slides": "-", "patients": "-"},
        "cohorts": {"internal": ["-"]},
        "expression": {"tables": [{"cohort": "-", "path": "-", "unit": "counts"}]},
    }
    config = configuration.resolve(minimal, check_paths=False)
    assert asdict(ModelConfig()) == config["model"]
    assert SlideSettings.from_mapping(config) == SlideSettings()
    for model in ("teacher", "student", "distilled"):
        for task in ("diagnosis", "grading", "survival"):
            given = {k: v[task] if isinstance(v, dict) else v for k, v in config["training"][model].items()}
            assert TrainingConfig(**given) == TrainingConfig.start_values(task, model)
