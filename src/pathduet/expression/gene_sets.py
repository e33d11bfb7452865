"""The two subspaces' gene lists: shipped with the package or the user's own."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pathduet.core.errors import InputError, Problems

if TYPE_CHECKING:
    import pandas as pd

#: What becomes of a gene that both lists hold.
Both = Literal["tumor", "tme", "shared", "drop"]


def shipped(name: Literal["tumor", "tme"]) -> list[str]:
    """Return the shipped gene list of a subspace, sorted by symbol.

    Parameters
    ----------
    name : {"tumor", "tme"}
        704 and 1,164 symbols; sources and licences in ``presets/genesets/README.md``.
    """
    return _parse((files("pathduet") / "_genesets" / f"{name}.txt"), f"{name}.txt")


def read_gene_set(path: str | PathLike[str]) -> list[str]:
    """Read a gene list: one symbol a line, ``#`` starts a comment, order kept.

    Raises
    ------
    InputError
        If the file is missing or empty, a line holds more than one word, or a symbol appears twice.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError.of(f"gene list {path.name}", "no such file", "give an existing text file")
    return _parse(path, path.name)


def _parse(source: Traversable, name: str) -> list[str]:
    genes: dict[str, int] = {}
    problems = Problems()
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
        symbol = line.split("#", 1)[0].strip()
        if not symbol:
            continue
        where = f"gene list {name} line {number}"
        if len(symbol.split()) > 1 or "," in symbol:
            problems.add(where, f"{symbol!r}", "write one symbol a line")
        elif symbol in genes:
            problems.add(where, f"{symbol} stands on line {genes[symbol]} too", "remove one of them")
        else:
            genes[symbol] = number
    if not genes and not problems:
        problems.add(f"gene list {name}", "no gene", "write one symbol a line")
    problems.check()
    return list(genes)


def assign_subspaces(genes: Iterable[str], tumor: Iterable[str], tme: Iterable[str], both: Both) -> pd.Series:
    """Assign each gene to a subspace.

    Parameters
    ----------
    genes : iterable of str
        The genes to assign (unique).
    tumor, tme : iterable of str
        The subspaces' gene lists.
    both : {"tumor", "tme", "shared", "drop"}
        Where a gene of both lists goes: into one subspace, into both (``shared``), or into none.

    Returns
    -------
    pandas.Series
        Index `genes`; ``"tumor"``, ``"tme"``, ``"shared"`` or ``""`` (in no subspace).
    """
    import pandas as pd

    if both not in ("tumor", "tme", "shared", "drop"):
        raise InputError.of("genesets.both", repr(both), "use tumor, tme, shared or drop")
    in_both = "" if both == "drop" else both
    tumor, tme, genes = set(tumor), set(tme), list(genes)
    subspaces = [
        in_both if g in tumor and g in tme else "tumor" if g in tumor else "tme" if g in tme else ""
        for g in genes
    ]
    return pd.Series(subspaces, index=pd.Index(genes, name="gene_symbol"), name="subspace", dtype=object)
