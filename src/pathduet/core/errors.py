"""Typed errors: each names the slide, patient or cell it is about, what was found and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pathduet.core.plural import plural

#: Why a slide was not used; the only values of the ledger's `reason` column.
SLIDE_REASONS = {
    "no_mpp": "no plausible pixel size in the sheet, the file or the configuration",
    "unreadable": "the file cannot be opened or decoded",
    "no_features": "the file of features of another tool is missing",
    "no_tissue": "no tissue was found on the thumbnail",
    "too_few_tiles": "fewer tissue tiles than `slides.min_tiles`",
    "other_stain": "the colours are not those of haematoxylin and eosin (`stain.other_stains`)",
    "time_limit": "a stage took longer than `slides.time_limit_s`",
    "memory_limit": "a stage took more memory than `slides.memory_limit_mib`",
    "excluded": "excluded by the `exclude` column of slides.tsv",
    "failed": "an unexpected error; see the message and the log",
}


def shown(text: str) -> str:
    """Return external text made safe for a terminal: control and other invisible characters become escapes."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


class PathDuetError(Exception):
    """Base of every error that PathDuet raises on purpose."""

    def __str__(self) -> str:
        return shown(super().__str__())


@dataclass(frozen=True)
class Problem:
    """One problem in the user's input.

    Attributes
    ----------
    where : str
        File, row and column (or configuration key), for example ``slides.tsv row 3, path``.
    found : str
        What was found there.
    advice : str
        How to correct it.
    """

    where: str
    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.found}; {self.advice}"


class InputError(PathDuetError):
    """Input that cannot be used, with *all* problems found, not just the first.

    Parameters
    ----------
    problems : iterable of Problem
        At least one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        lines = "\n".join(f"  {i}. {p}" for i, p in enumerate(self.problems, 1))
        super().__init__(f"{plural(len(self.problems), 'problem')} in the input:\n{lines}")

    @classmethod
    def of(cls, where: str, found: str, advice: str) -> InputError:
        """Return the error of a single problem."""
        return cls([Problem(where, found, advice)])


class Problems(list[Problem]):
    """Problems that are collected and raised together."""

    def add(self, where: str, found: str, advice: str) -> None:
        """Add a problem."""
        self.append(Problem(where, found, advice))

    @contextmanager
    def collected(self, within: str = "") -> Iterator[None]:
        """Add the problems of an InputError that is raised inside, located `within` something, and continue."""
        try:
            yield
        except InputError as error:
            self += (replace(p, where=f"{within}: {p.where}") if within else p for p in error.problems)

    def ask(self, check: Callable[..., object], *about: Any) -> None:
        """Call a check that may raise an InputError, and add its problems."""
        with self.collected():
            check(*about)

    def check(self) -> None:
        """Raise InputError if there are any."""
        if self:
            raise InputError(self)


class SlideError(PathDuetError):
    """A slide cannot be used. The error ends that slide, never the run.

    Parameters
    ----------
    slide_id : str
        The slide's id from the sheet.
    reason : str
        A key of :data:`SLIDE_REASONS`; it becomes the ledger's reason.
    found : str
        What was found (no directory names).
    advice : str
        What the user can do.
    """

    def __init__(self, slide_id: str, reason: str, found: str, advice: str = "") -> None:
        if reason not in SLIDE_REASONS:
            raise ValueError(f"unknown slide reason {reason!r}; known: {sorted(SLIDE_REASONS)}")
        self.slide_id, self.reason, self.found, self.advice = slide_id, reason, found, advice
        self.message = "; ".join(filter(None, (found, advice)))
        super().__init__(f"slide {slide_id}: {reason}: {self.message}")

    def __reduce__(self) -> tuple[type[SlideError], tuple[str, str, str, str]]:
        return SlideError, (self.slide_id, self.reason, self.found, self.advice)
