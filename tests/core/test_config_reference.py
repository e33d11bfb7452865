"""The configuration's reference says what the schema says."""

import re

import yaml

import tiny_cohort
from pathduet.core.config_reference import keys, reference, values_of


def test_every_key_of_the_shipped_configuration_is_in_it():
    page = reference()
    shipped = yaml.safe_load((tiny_cohort.REPOSITORY / "config.yaml").read_text())
    for section, value in shipped.items():
        if isinstance(value, dict):
            part = page.split(f"\n## {section}\n")[1]
            for key in value if section != "subspaces" else ():  # names of the user's own
                assert f"`{key}`" in part or f"## {section}.{key}" in part, f"{section}.{key}"
        else:
            assert f"| `{section}` |" in page or f"\n## {section}\n" in page


def test_a_row_gives_values_bounds_default_and_meaning():
    row = next(line for line in reference().splitlines() if line.startswith("| `thumbnail_mpp`"))
    assert re.search(r"number, ≥ 1.*\| `8` \|.*\(um\)", row)
    assert (
        values_of({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}) == "integer, ≥ 1; or null"
    )


def test_every_row_is_a_row_of_four():
    rows = [line for line in reference().splitlines() if line.startswith("|")]
    assert len(rows) > 80
    assert all(len(re.split(r"(?<!\\)\|", row)) == 6 for row in rows)


def test_every_key_has_a_meaning():
    from pathduet.core.config import schema

    assert [path for path, node in keys(schema("config")) if not node.get("description")] == []
