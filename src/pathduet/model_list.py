"""Every model of the comparison with its settings, for people: what `pathduet models` prints."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

from pathduet.core.errors import InputError, Problem
from pathduet.evaluation.model_facts import known_model

if TYPE_CHECKING:
    from rich.table import Table

OURS = ("teacher", "student", "distilled")
CLINICAL = ("cox_age", "cox_age_sex", "cox_age_sex_grade", "logistic_age_sex", "logistic_age_sex_grade")
_PAPER = "Zhang, Wang, Liu, Yu, Li: Disentangled Multi-modal Learning of Histology and Transcriptomics"


@dataclass(frozen=True)
class ListedModel:
    """One model of the comparison.

    Attributes
    ----------
    name, title, learns_from, predicts_from, source : str
        As :class:`~pathduet.evaluation.model_facts.ModelFacts` has them, and whose idea it is.
    config : type or None
        Dataclass of its settings; None for a model without any.
    """

    name: str
    title: str
    learns_from: str
    predicts_from: str
    source: str
    config: type[Any] | None

    def settings(self) -> dict[str, Any]:
        """Return each setting's default."""
        if self.config is None:
            return {}
        return {
            field.name: field.default if field.default_factory is MISSING else field.default_factory()
            for field in fields(self.config)
        }


def listed_models() -> list[ListedModel]:
    """Return ours, the baselines of the registry, and the clinical models."""
    from pathduet.models.baselines.registry import BASELINES
    from pathduet.models.method.config import ModelConfig

    source: dict[str, tuple[str, type[Any] | None]] = dict.fromkeys(OURS, (_PAPER, ModelConfig))
    source |= {name: (baseline.source, baseline.config) for name, baseline in BASELINES.items()}
    for name in CLINICAL:
        library = "lifelines" if name.startswith("cox") else "scikit-learn"
        source[name] = (f"{library}, ridge penalty", None)
    models = []
    for name, (origin, config) in source.items():
        facts = known_model(name)
        models.append(ListedModel(name, facts.title, facts.learns_from, facts.reads, origin, config))
    return models


def find_model(name: str) -> ListedModel:
    """Return a listed model.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    models = {model.name: model for model in listed_models()}
    if name not in models:
        raise InputError([Problem("model", f"{name!r} is unknown", f"use one of {', '.join(models)}")])
    return models[name]


def describe_settings(config: type[Any]) -> dict[str, str]:
    """Return what the docstrings of a dataclass and its bases say about each setting, a sentence or two each."""
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
    """Return the list as a table for the terminal."""
    from rich.table import Table

    table = Table("name", "title", "learns from", "predicts from", "settings and their defaults", "source")
    for model in listed_models():
        settings = ", ".join(f"{name} {_shown(value)}" for name, value in model.settings().items())
        table.add_row(model.name, model.title, model.learns_from, model.predicts_from, settings, model.source)
    return table


def settings_table(model: ListedModel) -> Table:
    """Return one model's settings as a table for the terminal."""
    from rich.table import Table

    table = Table("setting", "default", "meaning", title=f"{model.title}: {model.source}")
    if model.config is not None:
        meanings = describe_settings(model.config)
        for name, value in model.settings().items():
            table.add_row(name, _shown(value), meanings[name])
    return table


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
