"""The configuration: read, checked against its schema, completed with defaults, all problems at once."""

from __future__ import annotations

import ast
import copy
import difflib
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from pathduet.core.errors import InputError, Problem
from pathduet.explanation_files import plain_name


@lru_cache
def schema(name: str) -> dict[str, Any]:
    """Return a shipped schema: ``config``, ``slides`` or ``patients``."""
    text = (resources.files("pathduet") / "_schemas" / f"{name}.schema.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice (YAML itself silently keeps the last)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read(path: str | Path) -> dict[str, Any]:
    """Read one YAML file without validating it.

    Raises
    ------
    InputError
        If the file is missing, is no YAML, holds a key twice or is no mapping.
    """
    path = Path(path)
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise InputError(
            [Problem(str(path), error.strerror or "unreadable", "give the configuration's path")]
        ) from None
    except yaml.YAMLError as error:
        raise InputError([Problem(str(path), f"not valid YAML: {error}", "correct the syntax")]) from None
    if not isinstance(value, dict):
        raise InputError([Problem(str(path), "no mapping at the top", "start from the shipped config.yaml")])
    return value


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `overlay` laid over it; mappings are merged, everything else is replaced."""
    merged = dict(copy.deepcopy(dict(base)))
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _with_defaults(value: dict[str, Any], part: Mapping[str, Any]) -> None:
    for key, rule in part.get("properties", {}).items():
        if key not in value and "default" in rule:
            value[key] = copy.deepcopy(rule["default"])
        if isinstance(value.get(key), dict):
            _with_defaults(value[key], rule)
        elif isinstance(value.get(key), list):
            for item in value[key]:
                if isinstance(item, dict):
                    _with_defaults(item, rule.get("items", {}))


def _key(path: Any) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else str(step))
    return text or "configuration"


def _meant(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}? " if near else ""


def _schema_problems(value: Any) -> Iterator[Problem]:
    from jsonschema import Draft202012Validator

    for error in sorted(
        Draft202012Validator(schema("config")).iter_errors(value), key=lambda e: _key(e.path)
    ):
        where, rule = _key(error.absolute_path), error.schema if isinstance(error.schema, dict) else {}
        if error.validator == "additionalProperties":
            known = sorted(rule.get("properties", {}))
            for key in sorted(set(error.instance) - set(known)):
                yield Problem(
                    f"{where}.{key}" if error.absolute_path else key,
                    "unknown key",
                    f"{_meant(key, known)}known here: {', '.join(known)}",
                )
        elif error.validator == "required":
            key = error.message.split("'")[1]  # one error a key; its name stands in the message only
            described = rule.get("properties", {}).get(key, {}).get("description", "")
            missing = f"{where}.{key}" if error.absolute_path else key
            yield Problem(missing, "missing", described or "see schemas/config.schema.yaml")
        else:
            described = rule.get("description", "")
            yield Problem(where, error.message, described or "see schemas/config.schema.yaml")


def _cross_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    internal, external = config["cohorts"]["internal"], config["cohorts"]["external"]
    for cohort in sorted(set(internal) & set(external)):
        yield Problem("cohorts", f"{cohort!r} is both internal and external", "list it once")
    tables = [table["cohort"] for table in config["expression"]["tables"]]
    for cohort in sorted({c for c in tables if tables.count(c) > 1}):
        yield Problem("expression.tables", f"cohort {cohort!r} stands twice", "one table per cohort")
    for cohort in sorted(set(tables) - set(internal) - set(external)):
        yield Problem(
            "expression.tables",
            f"cohort {cohort!r} is in neither cohorts.internal nor cohorts.external",
            "correct the name, or add it to cohorts",
        )
    for cohort in internal:
        if cohort not in tables:
            yield Problem("expression.tables", f"no table for the internal cohort {cohort!r}", "add one")
    yield from _comparison_problems(config["comparison"])
    tokens = config["model"]["tokens"]
    if math.isqrt(tokens) ** 2 != tokens:
        below = math.isqrt(tokens)
        yield Problem(
            "model.tokens", f"{tokens} is no square number", f"use {below**2} or {(below + 1) ** 2}"
        )
    if config["model"]["variant"] == "released":
        known = schema("config")["properties"]["model"]["properties"]
        for name in ("attention", "gene_input", "aggregation"):
            paper = known[name]["default"]
            if config["model"][name] != paper:
                yield Problem(
                    f"model.{name}",
                    f"{config['model'][name]!r} is a switch of variant paper",
                    f"leave it at {paper!r} with variant released, or use variant paper",
                )
    if config["predict"]["expression"] and not config["predict"]["unit"]:
        yield Problem("predict.unit", "not set", "say what predict.expression holds, e.g. counts")
    regions = config["explanations"]["regions"]
    for name in sorted(set(map(plain_name, regions["tumor"])) & set(map(plain_name, regions["tme"]))):
        yield Problem("explanations.regions", f"{name!r} is on both sides", "list a structure once")
    if config["slides"]["mpp_10x"] <= config["slides"]["mpp_20x"]:
        yield Problem(
            "slides.mpp_10x", "not coarser than slides.mpp_20x", "10x has the larger pixels, e.g. 1.0 and 0.5"
        )


def _comparison_problems(comparison: Mapping[str, Any]) -> Iterator[Problem]:
    taken = set(schema("config")["properties"]["evaluation"]["properties"]["clinical_baselines"]["default"])
    taken |= set(schema("config")["properties"]["comparison"]["properties"]["models"]["items"]["enum"])
    for name in sorted(
        set(comparison["own_models"]) & (taken | {"teacher", "student", "distilled", "ensemble"})
    ):
        yield Problem(f"comparison.own_models.{name}", "the name of another model", "choose another name")
    for name in ("learning_rate", "weight_decay", "dropout"):
        low, high = comparison["search"][name]
        if low > high:
            yield Problem(f"comparison.search.{name}", f"{low} is above {high}", "give the lower value first")


def _path_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    paths = [("sheets.slides", config["sheets"]["slides"]), ("sheets.patients", config["sheets"]["patients"])]
    for i, table in enumerate(config["expression"]["tables"]):
        paths.append((f"expression.tables[{i}].path", table["path"]))
        if table.get("samples"):
            paths.append((f"expression.tables[{i}].samples", table["samples"]))
    paths += [(f"genesets.{name}", config["genesets"][name]) for name in ("tumor", "tme")]
    paths += [(f"predict.{name}", config["predict"][name]) for name in ("slides", "expression", "samples")]
    paths += [("split.file", config["split"]["file"]), ("encoder.weights", config["encoder"]["weights"])]
    paths.append(("stain.target", config["stain"]["target"]))
    paths += [
        (f"comparison.own_models.{name}.file", own["file"])
        for name, own in config["comparison"]["own_models"].items()
    ]
    paths.append(("explanations.gene_sets", config["explanations"]["gene_sets"]))
    for key, path in paths:
        if path is not None and path != "shipped" and not Path(path).is_file():
            advice = "correct the path (relative to the working directory)"
            if key == "sheets.slides" and Path(path).parts[0] == "demo":
                advice = "the demo cohort is not there yet: `make demo`, or `pathduet simulate --out demo`"
            yield Problem(key, f"no file {path!r}", advice)
    yield from _source_problems(config["comparison"]["own_models"])


def _source_problems(own_models: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what no training could import: told before a run rather than as a hole in its tables. Nothing is executed."""
    for name, own in own_models.items():
        try:
            ast.parse(Path(own["file"]).read_bytes(), filename=own["file"])
        except (SyntaxError, ValueError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            found = f"{own['file']}{line}: {getattr(error, 'msg', error)}"
            yield Problem(f"comparison.own_models.{name}.file", found, "correct the Python file")
        except OSError:  # said above
            continue


def resolve(value: Mapping[str, Any], *, check_paths: bool = True) -> dict[str, Any]:
    """Validate a configuration and return it with every default filled in.

    Parameters
    ----------
    value : mapping
        The configuration as read from YAML (or as Snakemake hands it over).
    check_paths : bool
        Also require that the files it names exist.

    Raises
    ------
    InputError
        Listing every unknown key, wrong type, impossible value, contradiction and missing file.
    """
    config = copy.deepcopy(dict(value))
    problems = list(_schema_problems(config))
    if problems:
        raise InputError(problems)
    _with_defaults(config, schema("config"))
    problems = list(_cross_problems(config))
    if check_paths:
        problems += _path_problems(config)
    if problems:
        raise InputError(problems)
    return config
