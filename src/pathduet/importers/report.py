"""What an import kept, what it left out and why, and which choices it made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pathduet.core.files import write_json, write_tsv
from pathduet.core.plural import plural
from pathduet.importers.outcomes import Outcome

#: Largest number of a table's columns listed on the terminal.
SHOWN = 20


@dataclass(frozen=True)
class Dropped:
    """One item that was left out.

    Attributes
    ----------
    kind : str
        ``patient``, ``slide``, ``sample``, ``gene``, ``file`` or ``value`` (a single cell).
    name : str
        Its id or file name.
    where : str
        File and row of origin.
    reason : str
        Why, in words that also group equal cases (without ids).
    found : str
        The original content.
    """

    kind: str
    name: str
    where: str
    reason: str
    found: str = ""


@dataclass
class ImportReport:
    """The record of one import; written as ``import_{cohort}.json`` and ``import_{cohort}_dropped.tsv``.

    Attributes
    ----------
    cohort : str
    counts : dict of str to int
        What was read and kept.
    choices : list of str
        Rules that decided between several options, in words.
    dropped : list of Dropped
    columns : dict of str to dict
        For each clinical table: the columns that were read, with their meaning; those copied unchanged; the unused ones.
    ids : dict of str to dict
        For each table: ids that were rewritten, with the new ids.
    outcomes : dict of str to list of Outcome
        Survival in each row of a patient, in the order of reading.
    folder : Path or None
        Where the sheets were written.
    """

    cohort: str
    counts: dict[str, int] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    ids: dict[str, dict[str, str | None]] = field(default_factory=dict)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    folder: Path | None = None

    def drop(self, kind: str, name: str, where: str, reason: str, found: object = "") -> None:
        """Record one item that was left out."""
        self.dropped.append(Dropped(kind, str(name), where, reason, str(found)))

    def choose(self, rule: str) -> None:
        """Record a rule, once."""
        if rule not in self.choices:
            self.choices.append(rule)

    def reasons(self) -> list[tuple[str, str, int]]:
        """Return (kind, reason, count), the most frequent first."""
        counted = Counter((item.kind, item.reason) for item in self.dropped)
        return [
            (kind, reason, n) for (kind, reason), n in sorted(counted.items(), key=lambda i: (-i[1], i[0]))
        ]

    def text(self) -> str:
        """Return the report for a terminal."""
        lines = [f"Import of {self.cohort}"]
        lines.append("  " + ", ".join(f"{what}: {n:,}" for what, n in self.counts.items()))
        for source, columns in self.columns.items():
            read = [f"{column} as {name}" for column, name in columns["read"].items()]
            lines.append(f"  {source}, read: {', '.join(read)}")
            for use in ("copied", "not used"):
                if names := list(columns[use]):
                    more = (
                        f" and {len(names) - SHOWN} more: import_{self.cohort}.json"
                        if len(names) > SHOWN
                        else ""
                    )
                    lines.append(f"  {source}, {use}: {', '.join(names[:SHOWN])}{more}")
        lines += [f"  rule: {rule}" for rule in self.choices]
        lines += [f"  left out: {plural(n, kind)}: {reason}" for kind, reason, n in self.reasons()]
        lines += [] if self.dropped else ["  nothing was left out"]
        if self.folder is not None:
            config = self.folder / "cohorts.yaml"
            lines.append(
                f"next: name what to predict in a file such as mine.yaml, as {config} explains, then"
            )
            lines.append(f"  pathduet check -c {config} -c mine.yaml")
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Write both files into the folder of the sheets."""
        import pandas as pd

        self.folder = folder

        summary = {
            "cohort": self.cohort,
            "counts": self.counts,
            "choices": self.choices,
            "columns": self.columns,
            "ids": self.ids,
            "left_out": [{"kind": k, "reason": r, "count": n} for k, r, n in self.reasons()],
        }
        write_json(folder / f"import_{self.cohort}.json", summary)
        columns = ["kind", "name", "where", "reason", "found"]
        rows = [[getattr(item, column) for column in columns] for item in self.dropped]
        write_tsv(folder / f"import_{self.cohort}_dropped.tsv", pd.DataFrame(rows, columns=columns))
