"""The catalogue as printed by `pathduet models`, with every setting explained."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from pathduet.catalogue import CATALOGUE, Model, modality

if TYPE_CHECKING:
    from rich.table import Table


def default_settings(model: Model) -> dict[str, Any]:
    """Return each setting of a model with its default; empty for a model without any."""
    config = model.load_settings()
    return {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in (fields(config) if config else ())
    }


def describe_settings(config: type[Any]) -> dict[str, str]:
    """Return the description of each setting from the docstrings of a dataclass and its bases."""
    found: dict[str, str] = {}
    for one in reversed(config.__mro__):
        found |= dict(_documented(inspect.getdoc(one) or "") if "__doc__" in vars(one) else ())
    return {field.name: found.get(field.name, "") for field in fields(config)}


def _documented(text: str) -> Iterator[tuple[str, str]]:
    section = re.search(r"^Attributes\n-+\n(.*?)(?:\n\n\S|\Z)", text, re.DOTALL | re.MULTILINE)
    for entry in re.split(r"\n(?=\S)", section[1]) if section else ():
        head, _, body = entry.partition("\n")
        for name in head.partition(" : ")[0].split(","):
            yield name.strip(), _plain(body)


def _plain(body: str) -> str:
    """Return a docstring's text without its markup."""
    return re.sub(r":\w+:`~?([^`]+)`", r"\1", " ".join(body.split())).replace("``", "")


def models_table() -> Table:
    """Return the catalogue as a table for the terminal."""
    from rich.table import Table

    table = Table("name", "title", "learns from", "predicts from", "settings and their defaults", "source")
    for model in CATALOGUE.values():
        settings = ", ".join(f"{name} {_shown(value)}" for name, value in default_settings(model).items())
        table.add_row(
            model.name, model.full_title, modality(model.learns_from), model.reads, settings, model.source
        )
    return table


def settings_table(model: Model) -> Table:
    """Return one model's settings as a table for the terminal."""
    from rich.table import Table

    table = Table("setting", "default", "meaning", title=f"{model.full_title}: {model.source}")
    if config := model.load_settings():
        meanings = describe_settings(config)
        for name, value in default_settings(model).items():
            table.add_row(name, _shown(value), meanings[name])
    return table


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
