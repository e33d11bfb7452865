"""What a configuration's schema cannot say: keys that must fit each other, names of models, files that must exist."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pathduet.catalogue import CATALOGUE, names
from pathduet.core.config import did_you_mean
from pathduet.core.errors import InputError, Problem
from pathduet.explain.files import plain_name


def check(config: Mapping[str, Any], *, paths: bool = True) -> None:
    """Raise with every contradiction of a complete configuration and every name and file that does not exist.

    Parameters
    ----------
    config : mapping
        As :func:`pathduet.core.config.resolve` returns it.
    paths : bool
        Also require that the files it names exist.

    Raises
    ------
    InputError
        If there is any.
    """
    problems = list(_cross_problems(config))
    if paths:
        problems += _path_problems(config)
    if problems:
        raise InputError(problems)


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
    yield from _name_problems(config)
    yield from _comparison_problems(config["comparison"])
    tokens = config["model"]["tokens"]
    if math.isqrt(tokens) ** 2 != tokens:
        below = math.isqrt(tokens)
        yield Problem(
            "model.tokens", f"{tokens} is no square number", f"use {below**2} or {(below + 1) ** 2}"
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


def _name_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield names of models that the catalogue does not have."""
    compared = config["comparison"]
    for key, given, known in (
        ("comparison.models", compared["models"], names("baseline", "released")),
        ("comparison.settings", compared["settings"], names("baseline")),
        ("evaluation.clinical_baselines", config["evaluation"]["clinical_baselines"], names("clinical")),
    ):
        for name in given:
            if name not in known:
                advice = f"{did_you_mean(name, known)}known: {', '.join(known)}"
                yield Problem(key, f"{name!r} is unknown", advice)


def _comparison_problems(comparison: Mapping[str, Any]) -> Iterator[Problem]:
    for name in sorted(set(comparison["own_models"]) & {*CATALOGUE, "ensemble"}):
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
            yield Problem(key, f"no file {path!r}", "correct the path (relative to the working directory)")
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
