"""Every network that can be requested of a run: the catalogue's, the user's own, and variations (ablation, genes, findings).

A variation is a separate model with its own name and its own folder in the results; the workflow trains it like the
teacher. If a variation's settings equal the configuration's, its row is the base model's.
This module does not import the networks: the workflow needs the names before any job starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pathduet.catalogue import catalogue_of, find, names
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.config import merge, training_settings

#: Variation tables; "main" means the tables of the tasks and of the external cohorts.
VARIATION_TABLES = ("ablation", "hvg", "findings")
TABLES = ("main", *VARIATION_TABLES)


@dataclass(frozen=True)
class PlannedModel:
    """One named network as a row of a table.

    Attributes
    ----------
    name : str
        Folder and wildcard, e.g. ``teacher-no-cgc``.
    base : str
        The model that it is or varies: from the catalogue, or the user's own.
    title : str
        Title for readers.
    group : str
        Rows of a table that are compared with each other, e.g. ``gene input``; empty in ``main``.
    model : mapping
        Overrides the configuration's ``model``.
    training : mapping
        Overrides the base's training section in the configuration.
    settings : mapping
        Overrides a baseline's settings.
    genes : str
        Gene selection, a key of :func:`gene_selections`, or ``default``.
    trained_after : tuple of str
        Planned models that it learns from, in the same fold.
    scales : tuple of str
        :attr:`pathduet.cohort.tasks.Task.scale` of the tasks whose rows the table shows; empty = all tasks.
    """

    name: str
    base: str
    title: str
    group: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    genes: str = "default"
    trained_after: tuple[str, ...] = ()
    scales: tuple[str, ...] = ()

    def shown_for(self, tasks: Mapping[str, Task]) -> list[str]:
        """Return the configured tasks for which a table shows it: those with one of its `scales`, else all."""
        return [name for name, task in tasks.items() if task.scale in self.scales] or list(tasks)


def planned_models(config: Mapping[str, Any]) -> dict[str, PlannedModel]:
    """Return every network that can be requested, by name, including those that no table shows."""
    varied = {row.name: row for table in VARIATION_TABLES for row in table_rows(table, config)}
    networks = [name for name, model in catalogue_of(config).items() if model.is_network]
    return {**varied, **{name: _as_configured(name, config) for name in networks}}


def table_rows(table: str, config: Mapping[str, Any]) -> list[PlannedModel]:
    """Return the rows of a table in order, each once per group.

    Parameters
    ----------
    table : str
        ``main`` (the method, then the baselines and own models of ``comparison``), ``ablation``, ``hvg`` or
        ``findings``.
    config : mapping
        Complete configuration.
    """
    if table == "main":
        compared = config["comparison"]
        shown = [*names("method"), *compared["models"], *compared["own_models"]]
        catalogue = catalogue_of(config)
        return [_as_configured(name, config) for name in shown if catalogue[name].is_network]
    made = {"ablation": _ablation, "hvg": _hvg, "findings": _findings}
    if table not in made:
        raise ValueError(f"unknown table {table!r}; known: {', '.join(TABLES)}")
    rows = [_or_base(row, config) for row in made[table](config)]
    return [
        row
        for i, row in enumerate(rows)
        if (row.name, row.group) not in {(other.name, other.group) for other in rows[:i]}
    ]


def _as_configured(name: str, config: Mapping[str, Any]) -> PlannedModel:
    model = catalogue_of(config)[name]
    return PlannedModel(name, name, model.title, trained_after=model.trained_after)


def _varied(base: str, name: str, said: str, group: str, **changes: Any) -> PlannedModel:
    """Return a variation of a model of the catalogue, called ``base-name`` in files and "Title, said" in tables."""
    model = find(base)
    return replace(
        PlannedModel(
            f"{base}-{name}", base, f"{model.title}, {said}", group, trained_after=model.trained_after
        ),
        **changes,
    )


def _or_base(row: PlannedModel, config: Mapping[str, Any]) -> PlannedModel:
    """Return the row under the base model's name if the variation changes nothing."""
    base = find(row.base)
    if base.role == "baseline":
        configured = config["comparison"]["settings"].get(row.base, {})
        same = merge(configured, row.settings) == configured
    else:
        training = _training(config, base.role)
        same = (
            merge(config["model"], row.model) == config["model"] and merge(training, row.training) == training
        )
    if row.genes != "default":
        chosen = gene_selections(config)[row.genes]
        if all(config["expression"][key] == value for key, value in chosen.items()):
            row = replace(row, genes="default")
    same = same and row.trained_after == base.trained_after and row.genes == "default"
    return replace(row, name=row.base) if same else row


def _training(config: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Return a network's training settings for the first task; a variation changes them for all tasks alike."""
    first = next(iter(tasks_of(config).values()))
    return training_settings(config["training"], role, first.name, first.kind)


def gene_selections(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each gene selection's changes to the configuration's ``expression``: shares, and the random control."""
    flavor = config["expression"]["hvg_flavor"]
    ranked = "seurat" if flavor == "random" else flavor
    shares = {
        f"hvg{share}": {"hvg_flavor": ranked, "hvg_fraction": share / 100} for share in (10, 30, 50, 80)
    }
    return shares | {"random30": {"hvg_flavor": "random", "hvg_fraction": 0.3}}


def _ablation(config: Mapping[str, Any]) -> Iterator[PlannedModel]:
    group = "gradient coordination and consistency"
    for cgc, igc, name in (
        (False, False, "no-cgc-no-igc"),
        (True, False, "no-igc"),
        (False, True, "no-cgc"),
        (True, True, "cgc-igc"),
    ):
        said = _named({"CGC": cgc, "IGC": igc})
        yield _varied("teacher", name, said, group, training={"cgc": cgc, "igc": igc})
    alone = {"igc": True, "lambda_level": 0.0}
    yield _varied("teacher", "eq7", "IGC as eq. 7, without the level term", group, training=alone)
    for base, key, group, options in (
        (
            "teacher",
            "gene_input",
            "gene tokens",
            {"tokens": "one token a gene", "vector": "one vector (SNN)"},
        ),
        ("teacher", "token_order", "token order", {"hilbert": "Hilbert order", "raster": "raster order"}),
        (
            "teacher",
            "expert_rule",
            "experts",
            {"max_confidence": "the surer expert", "mean": "mean of experts"},
        ),
        ("student", "aggregation", "token aggregation", {"ita": "ITA", "mean": "mean of tokens"}),
        ("distilled", "aggregation", "token aggregation", {"ita": "ITA", "mean": "mean of tokens"}),
    ):
        # hazards and numbers are always averaged
        scales = ("nominal", "ordinal") if key == "expert_rule" else ()
        for value, said in options.items():
            name = f"{key}-{value}".replace("_", "-")
            row = _varied(base, name, said, group, model={key: value}, scales=scales)
            if base == "distilled" and config["model"][key] != value:
                row = replace(row, trained_after=("teacher", f"student-{name}"))
            yield row
    full = _training(config, "distilled")
    weights = {key: full[key] or 0.01 for key in ("w_mse", "w_kl")}
    for mse, kl, name in (
        (False, False, "no-mse-no-kl"),
        (True, False, "no-kl"),
        (False, True, "no-mse"),
        (True, True, "mse-kl"),
    ):
        training = {"w_mse": weights["w_mse"] * mse, "w_kl": weights["w_kl"] * kl}
        said = _named({"MSE": mse, "KL": kl})
        yield _varied("distilled", name, said, "distillation losses", training=training)
    own = {"inner_folds": 0}
    yield _varied(
        "distilled", "own-teacher", "taught by its own teacher", "distillation losses", training=own
    )
    for kind in ("method", "released"):
        for name in names(kind):
            if kind == "method" and name != find(name).role:
                continue  # a control that the public code does not have
            row = _as_configured(name, config)
            title = row.title if kind == "released" else f"{row.title}, paper"
            yield replace(row, group="variant", title=title)


def _named(parts: Mapping[str, bool]) -> str:
    """Return ``CGC and IGC``, ``IGC`` or ``neither CGC nor IGC``."""
    return " and ".join(part for part, on in parts.items() if on) or f"neither {' nor '.join(parts)}"


def _hvg(config: Mapping[str, Any]) -> Iterator[PlannedModel]:
    for genes, said in (
        ("hvg10", "10 % highly variable genes"),
        ("hvg30", "30 % highly variable genes"),
        ("random30", "30 % random genes"),
        ("hvg50", "50 % highly variable genes"),
        ("hvg80", "80 % highly variable genes"),
    ):
        yield _varied("teacher", genes, said, "genes", genes=genes, scales=("nominal",))


def _findings(config: Mapping[str, Any]) -> Iterator[PlannedModel]:
    for name, said in (("abmil", "slides"), ("snn", "expression"), ("concat", "both, concatenated")):
        row = _as_configured(name, config)
        yield replace(row, title=f"{row.title}: {said}", group="modality", scales=("nominal",))
    forms = {name: f"{name} genes alone" for name in config["subspaces"]}
    together = "both" if len(forms) == 2 else "all"
    for form, said in {
        **forms,
        "concat": f"{together} concatenated",
        "parallel": f"{together} in parallel",
    }.items():
        row = _varied("snn", form, said, "gene input", settings={"genes": form}, scales=("survival",))
        yield replace(row, title=f"SNN: {said}")
    read = config["slides"]["magnifications"]
    for attention in ("plain", "deformable"):
        for magnifications in ("10x", "20x", "both") if read == "both" else (read,):
            said = "10x and 20x" if magnifications == "both" else magnifications
            row = _varied(
                "teacher", f"{attention}-{magnifications}", said, "attention and magnification",
                model={"attention": attention, "magnifications": magnifications}, scales=("ordinal",),
            )  # fmt: skip
            yield replace(row, title=f"Teacher: {attention} attention, {said}")
