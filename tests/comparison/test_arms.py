"""The named models of every table."""

from __future__ import annotations

from typing import Any

import pytest

from pathduet.core import config as configuration
from pathduet.variations import BASELINE_NAMES, OURS, TABLES, VARIATION_TABLES, all_arms, arms, needed_arms


def resolved(**changes: Any) -> dict[str, Any]:
    return configuration.resolve(changes)


@pytest.mark.parametrize("table", TABLES)
def test_rows_of_one_name_are_one_model(table: str) -> None:
    config = resolved(comparison={"models": list(BASELINE_NAMES)})
    known = all_arms(config)
    for arm in arms(table, config):
        same = known[arm.name]
        if arm.name == arm.base:
            continue
        assert (arm.base, arm.model, arm.training, arm.settings, arm.genes, arm.teacher, arm.student) == (
            same.base, same.model, same.training, same.settings, same.genes, same.teacher, same.student,
        )  # fmt: skip


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_what_a_distilled_arm_learns_from_exists_and_is_no_distilled_one(variant: str) -> None:
    known = all_arms(resolved(model={"variant": variant}))
    for arm in known.values():
        sources = needed_arms(arm, known)
        assert [source.base for source in sources] == (
            ["teacher", "student"] if arm.base == "distilled" else []
        )


def test_a_variation_that_changes_nothing_is_the_base_model() -> None:
    rows = arms("hvg", resolved())
    assert [arm.name for arm in rows if arm.genes == "default"] == ["teacher"]
    assert [arm.name for arm in rows] == [
        "teacher-hvg10", "teacher", "teacher-random30", "teacher-hvg50", "teacher-hvg80",
    ]  # fmt: skip
    half = arms("hvg", resolved(expression={"hvg_fraction": 0.5}))
    assert [arm.name for arm in half if arm.genes == "default"] == ["teacher"]
    assert [arm.title for arm in half if arm.name == "teacher"] == ["Teacher, 50 % highly variable genes"]


def test_gradient_coordination_and_consistency_are_crossed() -> None:
    rows = [a for a in arms("ablation", resolved()) if a.group.startswith("gradient")]
    assert {(a.training["cgc"], a.training["igc"]) for a in rows} == {(c, i) for c in (0, 1) for i in (0, 1)}
    assert [a.name for a in rows if a.training["cgc"] and a.training["igc"]] == ["teacher"]


def test_every_variation_table_compares_at_least_two_rows_a_group() -> None:
    for table in VARIATION_TABLES:
        groups: dict[str, set[str]] = {}
        for arm in arms(table, resolved()):
            groups.setdefault(arm.group, set()).add(arm.name)
        assert all(len(names) > 1 for names in groups.values()), groups


def test_the_main_table_has_the_method_first_then_the_configured_models() -> None:
    config = resolved(
        comparison={"models": ["snn"], "own_models": {"mine": {"file": "mine.py", "network": "Mine"}}}
    )
    assert [arm.name for arm in arms("main", config)] == [*OURS, "snn", "mine"]
    assert set(BASELINE_NAMES) < set(all_arms(config))


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown table"):
        arms("tables", resolved())


def test_names_known_without_torch_are_those_of_the_code() -> None:
    from pathduet.catalogue import names

    assert set(BASELINE_NAMES) == set(names("baseline"))


def test_every_variation_is_a_model_that_can_be_configured() -> None:
    from pathduet.catalogue import find
    from pathduet.models.method.config import ModelConfig
    from pathduet.models.network_settings import network_settings

    config = resolved()
    for arm in all_arms(config).values():
        if arm.base in OURS:
            ModelConfig(**configuration.merge(config["model"], arm.model))
        elif arm.base in BASELINE_NAMES:
            network_settings(find(arm.base), arm.settings)
