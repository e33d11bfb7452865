"""The configuration: defaults, a preset, the demo and the user's file, merged and checked against the schema."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from pathduet.core.errors import InputError, Problem, Problems
from pathduet.core.shipped import WORKFLOW

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


#: Mappings that a configuration replaces as a whole.
_REPLACED = ("subspaces",)


def _shipped(name: str) -> dict[str, Any]:
    text = (WORKFLOW / name).read_text(encoding="utf-8")
    return dict(yaml.load(text, Loader=_Loader))


@lru_cache
def schema(name: str) -> dict[str, Any]:
    """Return a shipped schema: ``config``, ``slides``, ``patients`` or ``design``."""
    return _shipped(f"schemas/{name}.schema.yaml")


@lru_cache
def defaults() -> dict[str, Any]:
    """Return the shipped config.yaml, the only place that sets defaults. Do not change it."""
    return _shipped("config.yaml")


def default(key: str) -> Any:
    """Return the default of a dotted key, e.g. ``model.width``."""
    value: Any = defaults()
    for step in key.split("."):
        value = value[step]
    return copy.deepcopy(value)


def preset(name: str) -> dict[str, Any]:
    """Return a shipped preset by its name, or the user's own by the path of its YAML file.

    Raises
    ------
    InputError
        If it does not exist.
    """
    if name.endswith((".yaml", ".yml")):
        return read(name)
    known = preset_names()
    if name not in known:
        advice = f"{did_you_mean(name, known)}use {', '.join(known)}, or a YAML file of your own"
        raise InputError.of("preset", f"{name!r} is unknown", advice)
    return _shipped(f"presets/{name}.yaml")


def preset_names() -> list[str]:
    """Return the names of the shipped presets."""
    return sorted(path.stem for path in (WORKFLOW / "presets").glob("*.yaml"))


class _UniqueKeyLoader(_Loader):  # type: ignore[misc]
    """Safe YAML that rejects duplicate keys (YAML itself silently keeps the last)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read(path: str | Path) -> dict[str, Any]:
    """Read one YAML file without validating it.

    Raises
    ------
    InputError
        If the file is missing, is not YAML, repeats a key or is not a mapping.
    """
    path = Path(path)
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise InputError(
            [Problem(str(path), error.strerror or "unreadable", "give the configuration's path")]
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError([Problem(str(path), f"not valid YAML: {error}", "correct the syntax")]) from None
    if not isinstance(value, dict):
        raise InputError([Problem(str(path), "no mapping at the top", "start from the shipped config.yaml")])
    return value


def read_all(paths: Iterable[str | Path]) -> dict[str, Any]:
    """Read several YAML files; each overrides those before it, as with Snakemake's ``--configfile``."""
    value: dict[str, Any] = {}
    for path in paths:
        value = merge(value, read(path), replaced=())
    return value


def merge(
    base: Mapping[str, Any], overlay: Mapping[str, Any], replaced: tuple[str, ...] = _REPLACED
) -> dict[str, Any]:
    """Return `base` overridden by `overlay`; mappings are merged (except those in `replaced`), all else is replaced."""
    merged = dict(copy.deepcopy(dict(base)))
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key not in replaced:
            merged[key] = merge(merged[key], value, replaced)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def demo() -> dict[str, Any]:
    """Return the shipped examples/demo.yaml."""
    return _shipped("examples/demo.yaml")


def is_demo(value: Mapping[str, Any]) -> bool:
    """Whether a configuration names no data: no sheets, no cohorts, no expression tables."""

    def said(part: Any) -> bool:
        return any(map(said, part.values())) if isinstance(part, Mapping) else bool(part)

    expression = value.get("expression")
    tables = expression.get("tables") if isinstance(expression, Mapping) else None
    return not any(map(said, (value.get("sheets"), value.get("cohorts"), tables)))


def _key(path: Any) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else str(step))
    return text or "configuration"


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """Return ``did you mean X?`` and a space for the nearest known name; "" if none is near."""
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"did you mean {near[0]}? " if near else ""


def schema_problems(value: Any, name: str = "config") -> Iterator[Problem]:
    """Yield what a shipped schema does not allow in `value`, sorted by key."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    # JSON Schema accepts 42.0 as an integer; seeds and epoch counts do not
    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, x: type(x) is int)
    strict = extend(Draft202012Validator, type_checker=checker)
    for error in sorted(strict(schema(name)).iter_errors(value), key=lambda e: _key(e.path)):
        where, rule = _key(error.absolute_path), error.schema if isinstance(error.schema, dict) else {}
        if error.validator == "additionalProperties":
            known = sorted(rule.get("properties", {}))
            for key in sorted(set(error.instance) - set(known)):
                yield Problem(
                    f"{where}.{key}" if error.absolute_path else key,
                    "unknown key",
                    f"{did_you_mean(key, known)}known here: {', '.join(known)}",
                )
        elif error.validator == "required":
            key = error.message.split("'")[1]  # one error per key, named only in the message
            described = rule.get("properties", {}).get(key, {}).get("description", "")
            yield Problem(f"{where}.{key}", "missing", described)
        else:
            found = "missing" if error.instance in (None, []) else error.message
            yield Problem(where, found, rule.get("description", "") or f"see schemas/{name}.schema.yaml")


def resolve(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration completed by its preset and the defaults, and by the demo if it names no data, and validated.

    Parameters
    ----------
    value : mapping
        The user's configuration, from YAML or Snakemake; a complete one stays unchanged.

    Raises
    ------
    InputError
        Lists every unknown key, wrong type, missing value and invalid value.
    """
    layers = [value]
    if is_demo(value):
        own = {key: part for key, part in value.items() if key not in ("sheets", "cohorts")}
        layers = [demo(), own]
    named = [layer["preset"] for layer in layers if "preset" in layer]
    if named and not isinstance(named[-1], str | None):
        raise InputError.of("preset", repr(named[-1]), f"use {', '.join(preset_names())}, or a YAML file")
    config = defaults()
    for layer in ([preset(named[-1])] if named and named[-1] else []) + layers:
        config = merge(config, layer)
    Problems(schema_problems(config)).check()
    # one spelling per folder: Snakemake identifies results by path
    return config | {"results": str(Path(config["results"]).expanduser())}


#: Keys of ``training`` that set how its jobs run.
_NOT_OPTIMISATION = ("seeds", "models_per_job", "logger")


def training_settings(training: Mapping[str, Any], role: str, task: str, kind: str) -> dict[str, Any]:
    """Return a network's training settings: the common ones, overridden by its section, each with the task's value.

    Parameters
    ----------
    training : mapping
        The ``training`` of a complete configuration.
    role : str
        The section: ``teacher``, ``student``, ``distilled`` or ``baseline``.
    task, kind : str
        A value may be given by the task's name, or else by its kind.
    """
    known = schema("config")["properties"]["training"]["properties"]
    common = [key for key in training if "properties" not in known[key] and key not in _NOT_OPTIMISATION]
    given = {**{key: training[key] for key in common}, **training[role]}
    return {
        key: value.get(task, value.get(kind)) if isinstance(value, Mapping) else value
        for key, value in given.items()
    }
