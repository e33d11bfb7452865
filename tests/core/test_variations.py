"""The named models of every table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pathduet.catalogue import catalogue_of, find, names
from pathduet.core import config as configuration
from pathduet.variations import TABLES, VARIATION_TABLES, planned_models, table_rows


def resolved(**changes: Any) -> dict[str, Any]:
    return configuration.resolve(changes)


@pytest.mark.parametrize("table", TABLES)
def test_rows_of_one_name_are_one_model(table: str) -> None:
    config = resolved(comparison={"models": list(names("baseline"))})
    known = planned_models(config)
    for row in table_rows(table, config):
        same = known[row.name]
        if row.name != row.base:
            assert replace(row, title="", group="") == replace(same, title="", group="")


def test_what_a_distilled_model_learns_from_exists_and_is_no_distilled_one() -> None:
    config = resolved()
    known = planned_models(config)
    for row in known.values():
        sources = [known[name].base for name in row.trained_after]
        assert sources == list(catalogue_of(config)[row.base].trained_after)
    assert known["distilled-aggregation-mean"].trained_after == ("teacher", "student-aggregation-mean")


def test_a_variation_that_changes_nothing_is_the_base_model() -> None:
    rows = table_rows("hvg", resolved(expression={"hvg_fraction": 0.3}))
    assert [row.name for row in rows if row.genes == "default"] == ["teacher"]
    assert [row.name for row in rows] == [
        "teacher-hvg10", "teacher", "teacher-random30", "teacher-hvg50", "teacher-hvg80",
    ]  # fmt: skip
    half = table_rows("hvg", resolved(expression={"hvg_fraction": 0.5}))
    assert [row.name for row in half if row.genes == "default"] == ["teacher"]
    assert [row.title for row in half if row.name == "teacher"] == ["Teacher, 50 % highly variable genes"]


def test_gradient_coordination_and_consistency_are_crossed() -> None:
    rows = [row for row in table_rows("ablation", resolved()) if row.group.startswith("gradient")]
    crossed = [row for row in rows if "cgc" in row.training]
    assert {(row.training["cgc"], row.training["igc"]) for row in crossed} == {
        (c, i) for c in (0, 1) for i in (0, 1)
    }
    assert [row.training for row in rows if row.name == "teacher"] == [{"cgc": False, "igc": True}]
    assert [row.training["lambda_level"] for row in rows if row not in crossed] == [0.0]


def test_every_variation_table_compares_at_least_two_rows_a_group() -> None:
    for table in VARIATION_TABLES:
        groups: dict[str, set[str]] = {}
        for row in table_rows(table, resolved()):
            groups.setdefault(row.group, set()).add(row.name)
        assert all(len(names) > 1 for names in groups.values()), groups


def test_the_main_table_has_the_method_first_then_the_configured_models() -> None:
    config = resolved(
        comparison={"models": ["snn"], "own_models": {"mine": {"file": "mine.py", "network": "Mine"}}}
    )
    assert [row.name for row in table_rows("main", config)] == [*names("method"), "snn", "mine"]
    assert set(names("baseline", "released")) < set(planned_models(config))


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown table"):
        table_rows("tables", resolved())


def test_the_public_code_is_compared_as_models_of_its_own() -> None:
    rows = [row for row in table_rows("ablation", resolved()) if row.group == "variant"]
    ours = [name for name in names("method") if find(name).role == name]
    assert [row.name for row in rows] == [*ours, *names("released")]
    assert [row.title for row in rows][::3] == ["Teacher, paper", "Teacher, released"]


def test_every_variation_is_a_model_that_can_be_configured() -> None:
    from pathduet.models.network_settings import network_settings
    from pathduet.training.networks import choose

    config = resolved()
    for row in planned_models(config).values():
        if choose(row.base).has_experts:
            choose(row.base).token_config(configuration.merge(config["model"], row.model))
        else:
            network_settings(find(row.base), row.settings)


def test_the_gene_input_is_compared_by_the_subspaces_of_the_configuration() -> None:
    for subspaces, together in ((["tumor", "tme"], "both"), (["z", "a", "m"], "all")):
        config = resolved(subspaces=dict.fromkeys(subspaces, "shipped"))
        rows = [row for row in table_rows("findings", config) if row.group == "gene input"]
        assert [row.title for row in rows] == [
            *(f"SNN: {name} genes alone" for name in subspaces),
            f"SNN: {together} concatenated",
            f"SNN: {together} in parallel",
        ]
        assert [row.settings["genes"] for row in rows] == [*subspaces, "concat", "parallel"]
