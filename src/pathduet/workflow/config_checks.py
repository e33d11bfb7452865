"""Checks beyond a configuration's schema: keys that must fit each other, names of models, files that must exist."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pathduet.catalogue import CATALOGUE, catalogue_of, clinical_models, clinical_sets, names
from pathduet.cohort.labels import DERIVATIONS
from pathduet.cohort.tasks import KINDS, Task, tasks_of
from pathduet.core.config import did_you_mean, preset, preset_names
from pathduet.core.errors import Problem, Problems
from pathduet.explain.files import plain_name
from pathduet.result_tables import external_table
from pathduet.slides.encoders import registry as encoders
from pathduet.slides.settings import fitted
from pathduet.variations import VARIATION_TABLES, PlannedModel

#: Keys that a kind of task needs, and its optional keys besides the common ones.
_KEYS_OF: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "classification": (("column",), ("derive", "classes", "class_titles", "ordered", "positive")),
    "survival": (("time", "event"), ("unit", "bins")),
    "regression": (("column",), ()),
}
#: Sections of ``training``, one per kind of network.
ROLES = ("teacher", "student", "distilled", "baseline")


def check(config: Mapping[str, Any], *, paths: bool = True) -> None:
    """Raise InputError with every contradiction in a complete configuration, unknown name and missing file.

    Parameters
    ----------
    config : mapping
        As :func:`pathduet.core.config.resolve` returns it.
    paths : bool
        Also require that the named files exist.

    Raises
    ------
    InputError
        If there is any problem.
    """
    Problems([*_cross_problems(config), *(_path_problems(config) if paths else ())]).check()


def _cross_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    internal, external = config["cohorts"]["internal"], config["cohorts"]["external"]
    for cohort in sorted(set(internal) & set(external)):
        yield Problem("cohorts", f"{cohort!r} is both internal and external", "list it once")
    tables = [table["cohort"] for table in config["expression"]["tables"]]
    for cohort in sorted({c for c in tables if tables.count(c) > 1}):
        yield Problem("expression.tables", f"cohort {cohort!r} appears twice", "one table per cohort")
    for cohort in sorted(set(tables) - set(internal) - set(external)) if internal else ():
        yield Problem(
            "expression.tables",
            f"cohort {cohort!r} is in neither cohorts.internal nor cohorts.external",
            "correct the name, or add it to cohorts",
        )
    if internal and tables and not set(internal) & set(tables):
        yield Problem("expression.tables", "none of an internal cohort", "add one, or remove the tables")
    if config["features"]["folder"] and not config["sheets"]["slides"]:
        yield Problem(
            "features.folder", "no sheet of slides", "sheets.slides must list the slides of these files"
        )
    yield from _task_problems(config)
    yield from _subspace_problems(config)
    yield from _name_problems(config)
    yield from _comparison_problems(config)
    tokens = config["model"]["tokens"]
    if math.isqrt(tokens) ** 2 != tokens:
        below = math.isqrt(tokens)
        yield Problem(
            "model.tokens", f"{tokens} is not a square number", f"use {below**2} or {(below + 1) ** 2}"
        )
    model = config["model"]
    if model["width"] % model["offset_groups"]:
        yield Problem(
            "model.width",
            f"{model['width']} is not a multiple of offset_groups {model['offset_groups']}",
            "change one",
        )
    if model["offset_kernel"] < model["stride"]:
        found = f"{model['offset_kernel']} is smaller than stride {model['stride']}"
        yield Problem("model.offset_kernel", found, "change one")
    released = [name for name in config["comparison"]["models"] if name in names("released")]
    if released and model["heads"] % model["offset_groups"]:
        found = f"{model['heads']} is not a multiple of offset_groups {model['offset_groups']}"
        yield Problem("model.heads", found, f"change one, or remove {', '.join(released)}")
    if config["predict"]["expression"] and not config["predict"]["unit"]:
        yield Problem("predict.unit", "not set", "give the unit of predict.expression, e.g. counts")
    yield from _tile_problems(config)


def _tile_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield unknown encoders, and tile settings that contradict each other or the model."""
    encoder, slides = config["encoder"], fitted(config)["slides"]
    if not encoders.known(encoder["name"]):
        others = [*encoders.REGISTRY, *encoders.OWN_FILES, encoders.CONTROL]
        advice = f"{did_you_mean(encoder['name'], others)}`pathduet encoders` lists them; or timm:<model>"
        yield Problem("encoder.name", f"{encoder['name']!r} is unknown", advice)
    if encoder["options"] and not encoder["name"].startswith(encoders.TIMM):
        yield Problem(
            "encoder.options", f"not for {encoder['name']}", "remove it: only timm:<model> has options"
        )
    if slides["mpp_10x"] <= slides["mpp_20x"]:
        yield Problem(
            "slides.mpp_10x", "not coarser than slides.mpp_20x", "10x has the larger pixels, e.g. 1.0 and 0.5"
        )
    if slides["overlap_px"] >= slides["tile_px"]:
        advice = f"less than a tile's {slides['tile_px']} pixels"
        yield Problem("slides.overlap_px", f"{slides['overlap_px']}", advice)
    if slides["min_tiles"] > slides["max_tiles"]:
        found = f"{slides['min_tiles']}, above slides.max_tiles: {slides['max_tiles']}"
        yield Problem("slides.min_tiles", found, "every slide would be lost: lower it")
    read, used = slides["magnifications"], config["model"]["magnifications"]
    if "both" not in (read, used) and read != used:
        advice = f"set one of them to both, or model.magnifications to {read}"
        yield Problem("model.magnifications", f"{used}, where slides.magnifications is {read}", advice)


def _task_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield problems of tasks: none configured, keys missing or unknown for their kind, names already in use."""
    if not config["sheets"]["slides"] and not config["sheets"]["patients"]:
        yield Problem("sheets", "neither slides nor patients", "name at least one of the two sheets")
    tasks = tasks_of(config)
    if not tasks:
        advice = (
            f"name what to predict (config.yaml shows each kind), or a preset: {', '.join(preset_names())}"
        )
        yield Problem("tasks", "none", advice)
    tables = [*VARIATION_TABLES, "main", *map(external_table, tasks)]
    for name, task in tasks.items():
        where, given = f"tasks.{name}", config["tasks"][name]
        if name in tables:
            yield Problem(where, "the name of a table", "choose another name")
        for key in _KEYS_OF[task.kind][0]:
            if not given.get(key) and not (key == "column" and task.derive):
                yield Problem(f"{where}.{key}", "missing", f"required for a {task.kind}")
        for key in given:
            if any(key in keys[0] + keys[1] for keys in _KEYS_OF.values()) and key not in sum(
                _KEYS_OF[task.kind], ()
            ):
                yield Problem(f"{where}.{key}", f"is not for a {task.kind}", "remove it")
        if task.derive and task.derive.get("name") not in DERIVATIONS:
            advice = f"known: {', '.join(DERIVATIONS)}"
            yield Problem(f"{where}.derive", f"{task.derive.get('name')!r} is unknown", advice)
        if task.derive and not task.classes:
            yield Problem(f"{where}.classes", "missing", "list the classes of a derived label")
        if len(task.classes) == 1:
            yield Problem(f"{where}.classes", "only one", "a classification needs two")
        if task.ordered and given.get("classes") is None:
            yield Problem(f"{where}.classes", "missing", "list them, the lowest first")
        if task.positive and task.classes and task.positive not in task.classes:
            yield Problem(
                f"{where}.positive", f"{task.positive!r} is not a class", f"one of {', '.join(task.classes)}"
            )
        counted = task.malignancy_score
        if isinstance(counted, str) and task.classes and counted not in task.classes:
            yield Problem(
                f"{where}.malignancy_score",
                f"{counted!r} is not a class",
                f"one of {', '.join(task.classes)}",
            )
        sets = clinical_sets(config)
        for chosen in task.clinical_baselines or ():
            if chosen not in sets:
                advice = f"{did_you_mean(chosen, sets)}known: {', '.join(sets)}"
                yield Problem(f"{where}.clinical_baselines", f"{chosen!r} is unknown", advice)
    yield from _number_problems(config, tasks)


def _number_problems(config: Mapping[str, Any], tasks: Mapping[str, Task]) -> Iterator[Problem]:
    """Yield per-task numbers that name no task, or that leave a task without a number."""
    training = config["training"]
    sections = {"training": training, **{f"training.{role}": training[role] for role in ROLES}}
    for section, settings in sections.items():
        for key, value in settings.items():
            if not isinstance(value, Mapping) or key in ROLES:
                continue
            for name in sorted(set(value) - set(KINDS) - set(config["tasks"])):
                known = ", ".join([*tasks, *KINDS])
                yield Problem(f"{section}.{key}.{name}", "no task or kind of task", f"known: {known}")
            for name, task in tasks.items():
                if name not in value and task.kind not in value:
                    yield Problem(
                        f"{section}.{key}", f"nothing for task {name}", f"add {name} or {task.kind}"
                    )


def _subspace_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    names_there, shared = list(config["subspaces"]), config["expression"]["shared_genes"]
    if shared not in ("drop", "all", *names_there):
        known = ", ".join(["drop", "all", *names_there])
        yield Problem("expression.shared_genes", f"{shared!r} is not a subspace", f"use one of {known}")
    forms = [*names_there, "concat", "parallel"]
    for model, changes in config["comparison"]["settings"].items():
        if changes.get("genes", "concat") not in forms:
            where, advice = f"comparison.settings.{model}.genes", f"use one of {', '.join(forms)}"
            yield Problem(where, f"{changes['genes']!r} is not a subspace", advice)
    structures = config["explanations"]["regions"]["structures"]
    # structures of a preset are defaults for its own subspaces
    offered = preset(config["preset"]) if config["preset"] else {}
    offered = offered.get("explanations", {}).get("regions", {}).get("structures", {})
    for name in sorted(set(structures) - set(names_there) - set(offered)):
        key = f"explanations.regions.structures.{name}"
        yield Problem(key, "no subspace of that name", f"subspaces: {', '.join(names_there)}")
    sides: dict[str, str] = {}
    for subspace in names_there:
        for name in sorted(set(map(plain_name, structures.get(subspace, ())))):
            if sides.setdefault(name, subspace) != subspace:
                found = f"{name!r} is listed for both {sides[name]} and {subspace}"
                yield Problem("explanations.regions.structures", found, "list each structure once")


def _name_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield names of models, and of sets of covariates, that do not exist."""
    compared, gain = config["comparison"], config["evaluation"]["gain_over"]
    for key, given, known in (
        ("comparison.models", compared["models"], names("baseline", "released", "components")),
        ("comparison.settings", compared["settings"], names("baseline")),
        ("evaluation.gain_over", [gain] if gain else [], list(clinical_sets(config))),
    ):
        for name in given:
            if name not in known:
                advice = f"{did_you_mean(name, known)}known: {', '.join(known)}"
                yield Problem(key, f"{name!r} is unknown", advice)


def named_model_problems(config: Mapping[str, Any], planned: Mapping[str, PlannedModel]) -> list[Problem]:
    """Return names of models to explain or release that are not models of the run."""
    known = [*catalogue_of(config), *planned]
    given = {
        "explanations.models": config["explanations"]["models"],
        "predict.model": [config["predict"]["model"]],
    }
    return [
        Problem(key, f"{name!r} is unknown", f"{did_you_mean(name, known)}known: {', '.join(known)}")
        for key, chosen in given.items()
        for name in chosen
        if name not in known
    ]


def _comparison_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    comparison = config["comparison"]
    for name in sorted(set(comparison["own_models"]) & {*CATALOGUE, *clinical_models(config), "ensemble"}):
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
    for name, entry in config["subspaces"].items():
        paths.append((f"subspaces.{name}", entry if isinstance(entry, str) else entry["gmt"]))
    paths += [(f"predict.{name}", config["predict"][name]) for name in ("slides", "expression", "samples")]
    paths += [("split.file", config["split"]["file"]), ("encoder.weights", config["encoder"]["weights"])]
    paths.append(("stain.target", config["stain"]["target"]))
    paths += [
        (f"comparison.own_models.{name}.file", own["file"])
        for name, own in config["comparison"]["own_models"].items()
    ]
    paths.append(("explanations.gene_sets", config["explanations"]["gene_sets"]))
    paths.append(("explanations.regions.legend", config["explanations"]["regions"]["legend"]))
    for key, path in paths:
        if path is None or path == "shipped" or Path(path).is_file():
            continue
        if not (key == "encoder.weights" and Path(path).is_dir()):
            yield Problem(key, f"no file {path!r}", "correct the path (relative to the working directory)")
    folder = config["features"]["folder"]
    if folder is not None and not Path(folder).is_dir():
        advice = "correct the path (relative to the working directory)"
        yield Problem("features.folder", f"no folder {folder!r}", advice)
    yield from _source_problems(config["comparison"]["own_models"])


def _source_problems(own_models: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield own models that training could not import, so that a run fails early. Nothing is executed."""
    for name, own in own_models.items():
        try:
            ast.parse(Path(own["file"]).read_bytes(), filename=own["file"])
        except (SyntaxError, ValueError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            found = f"{own['file']}{line}: {getattr(error, 'msg', error)}"
            yield Problem(f"comparison.own_models.{name}.file", found, "correct the Python file")
        except OSError:  # reported above
            continue
