"""The building blocks of a section: plain values that the template renders (and escapes)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from pathduet.core.faults import raise_machine_fault
from pathduet.core.files import write_text
from pathduet.report.drawing import inline_svg, standalone_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Block = dict[str, Any]
_PATH = re.compile(
    r"\w[\w./<>*-]*\.(?:tsv|json|h5ad|h5|md|html|svg|zip)(?![\w.]*[\w*<])|\w[\w/-]*/(?=$|[ ,;])"
)
_WILD = re.compile(r"<\w+>|\*")
#: Maximum number of files in a command line.
_MOST_TARGETS = 60


@dataclass(frozen=True)
class Linked:
    """A table's cell with its source artifact: a path below the results folder."""

    text: str
    path: str


class Origin(NamedTuple):
    """A piece of a source's text, with its link.

    Attributes
    ----------
    text : str
    path : str
        The linked artifact or folder, below the results folder; empty for plain text.
    target : str
        Snakemake target that recreates it, below the results folder, braces for several files; empty if none.
    """

    text: str
    path: str = ""
    target: str = ""


def artifacts(source: str, results: Path) -> list[Origin]:
    """Split a source such as ``tables/diagnosis.tsv (also .md)`` into pieces with their artifacts.

    ``models/survival/<model>/fold-*/predictions.tsv`` links to the common folder of all these files.
    """
    parts: list[Origin] = []
    end = 0
    for found in _PATH.finditer(source):
        name = found[0]
        if _WILD.search(name):
            origin = _several(name, results)
        elif name.endswith("/"):
            origin = Origin(name, name) if (results / name).is_dir() else None
        else:
            origin = Origin(name, name, name) if (results / name).is_file() else None
        if origin is not None:
            parts += [Origin(source[end : found.start()]), origin]
            end = found.end()
    return [part for part in [*parts, Origin(source[end:])] if part.text]


def _several(pattern: str, results: Path) -> Origin | None:
    """Return the folder of a pattern's files, and all files in braces if they are all combinations."""
    pieces = _WILD.sub("*", pattern).split("/")
    matches = [path.relative_to(results).parts for path in sorted(results.glob("/".join(pieces)))]
    if not matches:
        return None
    fixed = next(i for i, piece in enumerate(pieces) if "*" in piece)
    folder = "/".join([*pieces[:fixed], ""]) or "."
    choices = [list(dict.fromkeys(column)) for column in zip(*matches, strict=True)]
    whole = math.prod(map(len, choices)) == len(matches) <= _MOST_TARGETS
    braces = []
    for one, piece in zip(choices, pieces, strict=True):
        start, _, end = piece.partition("*")
        inside = [name.removeprefix(start).removesuffix(end) for name in one]
        braces.append(one[0] if len(one) == 1 else f"{start}{{{','.join(inside)}}}{end}")
    return Origin(pattern, folder, "/".join(braces) if whole else "")


@dataclass
class Section:
    """A section: heading, introductory sentence, blocks."""

    id: str
    title: str
    lead: str = ""
    blocks: list[Block] = field(default_factory=list)

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Return (id, title) of the section's headings, for the navigation."""
        return [(block["id"], block["text"]) for block in self.blocks if block["kind"] == "heading"]

    @property
    def gaps(self) -> int:
        """The number of missing pieces."""
        return sum(block["kind"] == "gap" for block in self.blocks)


def gap(title: str, reason: str) -> Block:
    """Return a visible gap with its reason."""
    return {"kind": "gap", "title": title, "reason": reason}


def heading(identity: str, content: str) -> Block:
    """Return a heading inside a section, linked from the navigation."""
    return {"kind": "heading", "id": identity, "text": content}


def text(content: str) -> Block:
    """Return a paragraph."""
    return {"kind": "text", "text": content}


def note(content: str) -> Block:
    """Return a remark in small print."""
    return {"kind": "note", "text": content}


def table(
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    numbers: Sequence[str] = (),
    marks: Sequence[str] | None = None,
    title: str = "",
    note: str = "",
    source: str = "",
    filterable: bool = False,
    folded: bool = False,
) -> Block:
    """Return a sortable table.

    Parameters
    ----------
    numbers : sequence of str
        Columns that contain numbers (aligned right).
    marks : sequence of str, optional
        A class for each row (``failed``, ``excluded`` or empty).
    filterable, folded : bool
        With a box to filter rows; collapsed by default.
    """
    return {
        "kind": "table", "name": name, "title": title, "note": note, "source": source, "filter": filterable, "folded": folded,
        "columns": [{"name": column, "number": column in numbers} for column in columns],
        "rows": [
            {"cells": [_cell(cell) for cell in row], "mark": mark}
            for row, mark in zip(rows, marks or [""] * len(rows), strict=True)
        ],
    }  # fmt: skip


def _cell(value: Any) -> dict[str, str]:
    if isinstance(value, Linked):
        return {"text": value.text, "path": value.path}
    return {"text": "" if pd.isna(value) else str(value), "path": ""}


class Drawer:
    """Turns figures into blocks, and also writes each as an SVG file.

    Parameters
    ----------
    folder : Path
        Output folder; figures of an earlier run that are no longer drawn are removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: set[str] = set()

    def draw(
        self,
        name: str,
        make: Callable[..., Figure],
        arguments: Mapping[str, Any],
        *,
        message: str,
        caption: str,
        source: str,
    ) -> Block:
        """Return the figure ``make(**arguments)`` as a block; a figure that cannot be drawn becomes a gap."""
        try:
            svg = standalone_svg(make(**arguments), name)
        # One broken file must not cost the reader the rest of the page.
        except Exception as error:
            raise_machine_fault(error, f"figure {name}")
            return gap(
                f"Figure {name}.", f"It could not be drawn: {type(error).__name__}: {str(error)[:200]}"
            )
        return self.show(name, svg, message=message, caption=caption, source=source)

    def show(self, name: str, svg: str, *, message: str, caption: str, source: str) -> Block:
        """Return a drawn figure as a block."""
        from markupsafe import Markup

        write_text(self.folder / f"{name}.svg", svg)
        self.written.add(f"{name}.svg")
        # Safe as markup: matplotlib escapes all text that it draws.
        drawn = Markup(inline_svg(svg, name, message or caption))
        shown = {"svg": drawn, "message": message, "caption": caption, "source": source}
        return {"kind": "figure", "name": name, **shown}

    def remove_stale(self) -> None:
        """Remove figures that this page does not show."""
        for path in self.folder.glob("*.svg"):
            if path.name not in self.written:
                path.unlink()
