"""Settings of a baseline from a configuration or a trained model's record, completed and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pathduet.catalogue import Model
from pathduet.core.errors import InputError, Problem
from pathduet.models.baselines.gene_groups import CHUNKS, read_gene_groups
from pathduet.models.method.config import MAGNIFICATIONS, PATCH_STARTS


def network_settings(model: Model, changes: Mapping[str, Any] | None = None) -> Any:
    """Return a model's settings: its defaults with `changes` applied.

    The same call reads a configuration's settings and those that ``dataclasses.asdict`` recorded: lists
    become tuples, and `gene_groups` given as a file become the groups in it, so that a trained model does not need the file.

    Parameters
    ----------
    model : Model
        Entry of the catalogue.
    changes : mapping, optional
        Setting to value.

    Returns
    -------
    dataclass
        An instance of the dataclass that the catalogue names.

    Raises
    ------
    InputError
        If a setting is unknown or a value invalid.
    """
    config = model.load_settings()
    assert config is not None, f"{model.name} has no settings"
    known = [field.name for field in fields(config)]
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in (changes or {}).items()}
    groups = values.get("gene_groups")
    if isinstance(groups, str | Path) and groups != CHUNKS:
        groups = read_gene_groups(groups)
    if isinstance(groups, Mapping):
        # by name: records are written with sorted keys, and the order of the groups is that of a model's branches
        values["gene_groups"] = {group: tuple(genes) for group, genes in sorted(groups.items())}
    problems = [
        Problem(f"{model.name}.{key}", "no setting of this model", f"use one of {', '.join(known)}")
        for key in values
        if key not in known
    ]
    read = values.get("magnifications", MAGNIFICATIONS)
    if not read or len(set(read)) < len(read) or not set(read) <= set(MAGNIFICATIONS):
        advice = 'use ["10x"], ["20x"] or ["10x", "20x"]'
        problems.append(Problem(f"{model.name}.magnifications", repr(read), advice))
    start = values.get("patch_start", PATCH_STARTS[0])
    if start not in PATCH_STARTS:
        advice = f"use one of {', '.join(PATCH_STARTS)}"
        problems.append(Problem(f"{model.name}.patch_start", repr(start), advice))
    if problems:
        raise InputError(problems)
    try:
        return config(**values)
    except (TypeError, ValueError) as error:
        raise InputError([Problem(model.name, str(error), "see `pathduet models`")]) from None
