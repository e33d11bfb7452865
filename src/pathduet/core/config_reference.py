"""The configuration reference as Markdown, generated from schema and defaults so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pathduet.core.config import default, schema

_BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))


def values_of(node: Mapping[str, Any]) -> str:
    """Return in words what a key accepts, e.g. ``integer, ≥ 1, ≤ 64``."""
    if "enum" in node:
        return " | ".join(_shown(value) for value in node["enum"])
    if "const" in node:
        return _shown(node["const"])
    for several in ("anyOf", "oneOf"):
        if several in node:
            return "; or ".join(dict.fromkeys(values_of(one) for one in node[several]))
    kinds = node.get("type", "any value")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if text == "array" and "items" in node:
        text = f"list of: {values_of(node['items'])}"
    if text == "object" and "properties" in node:
        text = "one value each for " + ", ".join(node["properties"])
    limits = [f"{sign} {_shown(node[key])}" for key, sign in _BOUNDS if key in node]
    return ", ".join([text, *limits])


def keys(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each key's dotted path and its schema, sections before their keys."""
    for name, child in node.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        yield place, child
        if child.get("type") == "array":
            yield from keys(child.get("items", {}), f"{place}[]")
        else:
            yield from keys(child, place)
            yield from keys(_entry(child), f"{place}.NAME")


def _entry(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a mapping's entries under user-chosen names; empty if they have no keys."""
    entry = node.get("additionalProperties")
    options = entry.get("anyOf", [entry]) if isinstance(entry, Mapping) else []
    return next((option for option in options if "properties" in option), {})


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _default_of(path: str) -> str:
    try:
        return f"`{_cell(_shown(default(path)))}`"
    except (KeyError, TypeError):  # an entry of a list, or a network's setting in `training`
        return ""


def _section(node: Mapping[str, Any]) -> bool:
    return (
        "properties" in node
        or bool(_entry(node))
        or (node.get("type") == "array" and "properties" in node.get("items", {}))
    )


def reference() -> str:
    """Return the page: a table for each section of the configuration."""
    whole = schema("config")
    lines = [
        "# Configuration reference",
        "",
        "Made from `schemas/config.schema.yaml`, which every run is checked against; unknown keys are errors. The comments in",
        "`config.yaml` say when to change a value.",
    ]
    tables: dict[str, list[str]] = {"": []}
    about = {"": ""}
    for path, node in keys(whole):
        if _section(node):
            tables[path], about[path] = [], str(node.get("description", ""))
            continue
        section = max((s for s in tables if not s or path.startswith((f"{s}.", f"{s}[]."))), key=len)
        name = path.removeprefix(section).removeprefix("[]").lstrip(".") if section else path
        row = [
            f"`{name}`",
            _cell(values_of(node)),
            _default_of(path),
            _cell(str(node.get("description", ""))),
        ]
        tables[section].append("| " + " | ".join(row) + " |")
    for section, rows in tables.items():
        lines += ["", f"## {section or 'Top level'}", ""]
        if about[section]:
            lines += [about[section], ""]
        if rows:
            lines += ["| key | values | default | meaning |", "| --- | --- | --- | --- |", *rows]
    return "\n".join(lines) + "\n"
