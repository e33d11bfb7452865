"""Sets of genes: the subspaces' lists, shipped with the package or the user's own, and GMT files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.config import did_you_mean
from pathduet.core.errors import InputError, Problems
from pathduet.core.shipped import GENE_SETS
from pathduet.expression.identifiers import harmonised_symbols

if TYPE_CHECKING:
    import pandas as pd

#: Used instead of a subspace for a gene that stays in several.
SHARED = "shared"
#: Reserved words where a subspace is named.
RESERVED = ("drop", "all", SHARED, "concat", "parallel")


def gene_lists(subspaces: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the genes of each subspace that the configuration names, in its order.

    Parameters
    ----------
    subspaces : mapping
        Name to ``shipped``, the path of a list (see :func:`read_gene_set`) or of a GMT file (the genes of all its sets), or
        ``{gmt: shipped or path, sets: [...]}`` (of those sets; all without ``sets``).

    Raises
    ------
    InputError
        Lists the problems of all subspaces.
    """
    lists, problems = {}, Problems()
    for name, source in subspaces.items():
        with problems.collected():
            lists[name] = _genes_of(name, source)
    problems.check()
    return lists


def _genes_of(name: str, source: str | Mapping[str, Any]) -> list[str]:
    if name in RESERVED:
        raise InputError.of(f"subspaces.{name}", "a reserved word", "choose another name")
    if source == "shipped":
        return shipped(name)
    if isinstance(source, str) and not source.endswith(".gmt"):
        return read_gene_set(source)
    path, chosen = (source, None) if isinstance(source, str) else (source["gmt"], source.get("sets"))
    sets = shipped_gmt() if path == "shipped" else read_gmt(path)
    problems = Problems()
    for wanted in chosen or ():
        if wanted not in sets:
            advice = f"{did_you_mean(wanted, sets)}it holds {', '.join(list(sets)[:10])}" + (
                " ..." if len(sets) > 10 else ""
            )
            problems.add(f"subspaces.{name}", f"no set {wanted!r} in {Path(path).name}", advice)
    problems.check()
    return list(dict.fromkeys(gene for wanted in chosen or sets for gene in sets[wanted]))


def shipped_names() -> list[str]:
    """Return the names of the shipped gene lists."""
    return sorted(path.stem for path in GENE_SETS.glob("*.txt"))


def shipped(name: str) -> list[str]:
    """Return a shipped gene list, sorted by symbol; sources and licences in ``presets/genesets/README.md``.

    Parameters
    ----------
    name : str
        One of :func:`shipped_names`.

    Raises
    ------
    InputError
        If the list does not exist.
    """
    known = shipped_names()
    if name not in known:
        advice = (
            f"{did_you_mean(name, known)}shipped are {', '.join(known)}; give a file of your own otherwise"
        )
        raise InputError.of(f"subspaces.{name}", "no gene list of this name is shipped", advice)
    return _parse(GENE_SETS / f"{name}.txt", f"{name}.txt")


def read_gene_set(path: str | PathLike[str]) -> list[str]:
    """Read a gene list: one symbol or Ensembl id per line, ``#`` starts a comment, order kept.

    Genes are named by the symbols that expression tables get
    (:func:`pathduet.expression.identifiers.harmonised_symbols`).

    Raises
    ------
    InputError
        If the file is missing or empty, a line holds more than one word, or a symbol appears twice.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError.of(f"gene list {path.name}", "no such file", "give an existing text file")
    return _parse(path, path.name)


def _parse(source: Path, name: str) -> list[str]:
    genes: dict[str, int] = {}
    problems = Problems()
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
        symbol = line.split("#", 1)[0].strip()
        if not symbol:
            continue
        where = f"gene list {name} line {number}"
        if len(symbol.split()) > 1 or "," in symbol:
            problems.add(where, f"{symbol!r}", "write one symbol per line")
        elif symbol in genes:
            problems.add(where, f"{symbol} is on line {genes[symbol]} too", "remove one of them")
        else:
            genes[symbol] = number
    if not genes and not problems:
        problems.add(f"gene list {name}", "no gene", "write one symbol per line")
    problems.check()
    return _known_as(genes)


def _known_as(genes: Iterable[str]) -> list[str]:
    """Return genes by the symbols that expression tables get, without duplicates."""
    return list(dict.fromkeys(harmonised_symbols(genes)))


def shipped_gmt() -> dict[str, tuple[str, ...]]:
    """Return the sets of the shipped ``groups.gmt``: six groups of the genes of the lists ``tumor`` and ``tme``."""
    return _parse_gmt(GENE_SETS / "groups.gmt")


def read_gmt(path: str | PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Read the sets of a GMT file: name, description, genes; tabs between them.

    Raises
    ------
    InputError
        If the file is missing, or holds no set, an empty set, or a duplicate name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError.of(f"gene sets {path.name}", "no such file", "give an existing GMT file")
    return _parse_gmt(path)


def _parse_gmt(source: Path) -> dict[str, tuple[str, ...]]:
    lines = [line.split("\t") for line in source.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    return named_sets(((name, genes) for name, _, *genes in ([*line, ""] for line in lines)), source.name)


def named_sets(pairs: Iterable[tuple[str, Iterable[str]]], file: str) -> dict[str, tuple[str, ...]]:
    """Return gene sets by name in the file's order, each gene once and by the symbol that expression tables get.

    Raises
    ------
    InputError
        If there is no set, an empty set, one without a name, or a duplicate name.
    """
    sets: dict[str, tuple[str, ...]] = {}
    problems, where = Problems(), f"gene sets {file}"
    for number, (name, genes) in enumerate(pairs, 1):
        name = name.strip()
        found = tuple(_known_as(filter(None, (gene.strip() for gene in genes))))
        if not name:
            problems.add(where, f"set {number} has no name", "name it")
        elif name in sets:
            problems.add(where, f"set {name!r} appears twice", "join the two")
        elif not found:
            problems.add(where, f"set {name!r} holds no gene", "remove it")
        sets[name] = found
    if not sets:
        problems.add(where, "no set", "write at least one")
    problems.check()
    return sets


def assign_subspaces(
    genes: Iterable[str], lists: Mapping[str, Iterable[str]], shared_genes: str
) -> pd.Series:
    """Assign each gene to a subspace.

    Parameters
    ----------
    genes : iterable of str
        The genes to assign (unique).
    lists : mapping
        Subspace to its gene list.
    shared_genes : str
        Where a gene of several lists goes: into none (``drop``), into each of them (``all``), or into the subspace of this
        name; a gene that this subspace's list does not hold goes into none.

    Returns
    -------
    pandas.Series
        Index `genes`; a subspace's name, :data:`SHARED` (in each subspace whose list holds it) or ``""`` (in none).

    Raises
    ------
    InputError
        If `shared_genes` is none of these.
    """
    import pandas as pd

    known = ["drop", "all", *lists]
    if shared_genes not in known:
        advice = f"{did_you_mean(shared_genes, known)}use {', '.join(known[:-1])} or {known[-1]}"
        raise InputError.of("expression.shared_genes", repr(shared_genes), advice)
    sets, genes = {name: set(own) for name, own in lists.items()}, list(genes)

    def place(gene: str) -> str:
        owners = [name for name, own in sets.items() if gene in own]
        if len(owners) < 2:
            return owners[0] if owners else ""
        return SHARED if shared_genes == "all" else shared_genes if shared_genes in owners else ""

    subspaces = [place(gene) for gene in genes]
    return pd.Series(subspaces, index=pd.Index(genes, name="gene_symbol"), name="subspace", dtype=object)
