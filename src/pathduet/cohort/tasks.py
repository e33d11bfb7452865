"""A task: what is predicted, its kind, and the columns of the patients' sheet that hold its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pathduet.core.config import default

Kind = Literal["classification", "survival", "regression"]
KINDS: tuple[Kind, ...] = ("classification", "survival", "regression")
#: Days in a unit of survival time; a month is a twelfth of a Julian year.
DAYS_IN = {"days": 1.0, "months": 30.4375, "years": 365.25}


@dataclass(frozen=True)
class Task:
    """One task of a run. All code that depends on the target reads its attributes, never its name.

    Attributes
    ----------
    name : str
        Name in files and configuration.
    kind : {"classification", "survival", "regression"}
    title : str
        Title for readers, e.g. ``Overall survival``.
    column : str
        For a classification or regression: the column of the label.
    derive : mapping
        ``name`` of a function in :mod:`pathduet.cohort.labels` that derives the label if the column is empty, and its
        options; empty for none.
    classes : tuple of str
        For a classification, in the order of the networks' outputs; empty until they are read from the data.
    values : mapping of str to tuple of str
        Further cell values that stand for a class, besides its name.
    ordered : bool
        Whether the classes are steps of a scale, the lowest first.
    positive : str
        For two classes, the class that sensitivity, probability and score refer to; the last by default.
    class_titles : mapping of str to str
        Titles for readers; a class without one is shown by its name.
    time, event : str
        For a survival task: the columns of the time and of the event.
    observed, censored : str
        Values of `event`; an empty `censored` means the column's only other value.
    unit : {"days", "months", "years"}
        Unit of the column `time` and of figures. Internally, times are in days.
    bins : int
        Number of a network's survival intervals.
    missing_values : tuple of str
        Cells that count as empty for this task.
    clinical_baselines : tuple of str or None
        Sets of covariates that it is compared with; None: all sets without its label.
    external : bool
        Whether it is evaluated on the external cohorts, too.
    malignancy_score : bool or str
        Whether genes are correlated with its predictions; for an unordered classification, the class whose probability counts.
    """

    name: str
    kind: Kind
    title: str = ""
    column: str = ""
    derive: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ordered: bool = False
    positive: str = ""
    class_titles: Mapping[str, str] = field(default_factory=dict)
    time: str = ""
    event: str = ""
    observed: str = "1"
    censored: str = "0"
    unit: str = "days"
    bins: int = default("labels.survival_bins")
    missing_values: tuple[str, ...] = ()
    clinical_baselines: tuple[str, ...] | None = None
    external: bool = True
    malignancy_score: bool | str = True

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any], bins: int | None = None) -> Task:
        """Return the task of an entry in the configuration's ``tasks``, or of a result of :meth:`to_plain`."""
        more = {key: value for key, value in entry.items() if key != "name"}
        classes = more.get("classes") or ()
        cells = classes if isinstance(classes, Mapping) else more.get("values") or {}
        more["values"] = {str(known): tuple(map(str, values)) for known, values in cells.items()}
        more["classes"] = tuple(map(str, classes))
        derive = more.get("derive") or {}
        more["derive"] = {"name": derive} if isinstance(derive, str) else dict(derive)
        event = more.get("event", "")
        if isinstance(event, Mapping):
            more["event"] = event["column"]
            more["observed"] = str(event.get("observed", "1"))
            more["censored"] = str(event.get("censored", "" if "observed" in event else "0"))
        for key in ("missing_values", "clinical_baselines"):
            if more.get(key) is not None:
                more[key] = tuple(map(str, more[key]))
        if bins is not None and more.get("kind") == "survival":
            more.setdefault("bins", bins)
        words = name.replace("_", " ")
        # abbreviations of endpoints: OS, PFI
        more["title"] = more.get("title") or (words.upper() if len(words) <= 3 else words.capitalize())
        if len(more["classes"]) == 2:
            more["positive"] = more.get("positive") or more["classes"][-1]
        return cls(name=name, **more)

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for JSON and a rule's parameters: ``Task.of(plain["name"], plain)`` restores the task."""
        plain = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }
        return plain | {"values": {known: list(cells) for known, cells in self.values.items()}}

    @property
    def is_binary(self) -> bool:
        """Whether it is a classification of two classes."""
        return len(self.classes) == 2

    @property
    def scale(self) -> str:
        """Scale of its outcome: ``nominal`` or ``ordinal`` classes, ``survival``, or ``regression``."""
        return ("ordinal" if self.ordered else "nominal") if self.kind == "classification" else self.kind

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the sheet that hold its label, without the sources of a derived label."""
        return tuple(filter(None, (self.column, self.time, self.event)))

    @property
    def in_sentence(self) -> str:
        """The title inside a sentence: ``overall survival``; abbreviations keep their capitals."""
        second = self.title[1:2]
        return self.title if second.isupper() else self.title[:1].lower() + self.title[1:]

    def class_title(self, name: str) -> str:
        """Return a class as readers see it."""
        return self.class_titles.get(name, name.replace("_", " "))

    def in_unit(self, days: Any) -> Any:
        """Return a time, or an array of them, in the task's unit."""
        return days / DAYS_IN[self.unit]


def tasks_of(config: Mapping[str, Any]) -> dict[str, Task]:
    """Return the tasks of a complete configuration by name, in its order; null entries are skipped."""
    bins = config["labels"]["survival_bins"]
    return {name: Task.of(name, entry, bins) for name, entry in config["tasks"].items() if entry is not None}
