"""Groups of genes for models that read one token a group (MCAT, CMTA).

Chen et al. (ICCV 2021) give their co-attention transformer six functional families of MSigDB: tumor suppressors, oncogenes, protein kinases, cell differentiation
markers, transcription factors, cytokines and growth factors. Their table may be given by file
(:func:`read_gene_groups` reads it as it is). Without one, the six groups shipped in ``presets/genesets/groups.gmt`` serve: the freely licensed sources
that the shipped gene lists are made of. A gene may be in several groups; genes in none go to one more group a subspace, so that no gene is lost.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from pathduet.core.errors import InputError, Problem
from pathduet.models.inputs import NetworkSizes

#: Gene symbols by group.
Groups = Mapping[str, Sequence[str]]

#: A group of fewer measured genes says too little for a token of its own; its genes join their subspace's rest.
LEAST_GENES = 3
#: In place of groups: contiguous parts of the gene list, as the public code of the method makes them for these models.
CHUNKS = "chunks"
_CHUNKS = 6


def shipped_groups() -> dict[str, tuple[str, ...]]:
    """Return the shipped groups, three of tumor genes and three of TME genes."""
    return _parse_gmt(
        (files("pathduet") / "_genesets" / "groups.gmt").read_text(encoding="utf-8"), "groups.gmt"
    )


def read_gene_groups(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read groups from a file.

    Parameters
    ----------
    path : str or Path
        ``.gmt`` (name, description, genes; tabs between them), or ``.csv`` or ``.tsv`` with a column a group, the group's name
        on top (MCAT's ``signatures.csv``).

    Raises
    ------
    InputError
        If the file is missing, of another kind, or holds no group, an empty one, or a name twice.
    """
    path = Path(path)
    where = f"gene groups {path.name}"
    if not path.is_file():
        raise InputError([Problem(where, "no such file", "give an existing .gmt, .csv or .tsv file")])
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".gmt":
        return _parse_gmt(text, path.name)
    if path.suffix not in (".csv", ".tsv"):
        raise InputError([Problem(where, f"ends in {path.suffix!r}", "give a .gmt, .csv or .tsv file")])
    rows = list(csv.reader(text.splitlines(), delimiter="," if path.suffix == ".csv" else "\t"))
    names = [name.strip() for name in rows[0]] if rows else []
    columns = [
        [row[i].strip() for row in rows[1:] if i < len(row) and row[i].strip()] for i in range(len(names))
    ]
    return _checked(list(zip(names, columns, strict=True)), where)


def _parse_gmt(text: str, name: str) -> dict[str, tuple[str, ...]]:
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    pairs = [(parts[0].strip(), [gene.strip() for gene in parts[2:] if gene.strip()]) for parts in lines]
    return _checked(pairs, f"gene groups {name}")


def _checked(pairs: list[tuple[str, list[str]]], where: str) -> dict[str, tuple[str, ...]]:
    problems = []
    names = [name for name, _ in pairs]
    if not pairs:
        problems.append(Problem(where, "no group", "write at least one"))
    for number, (name, genes) in enumerate(pairs, 1):
        if not name:
            problems.append(Problem(where, f"group {number} has no name", "name it"))
        elif names.index(name) != number - 1:
            problems.append(Problem(where, f"group {name!r} stands there twice", "join the two"))
        elif not genes:
            problems.append(Problem(where, f"group {name!r} holds no gene", "remove it"))
    if problems:
        raise InputError(problems)
    return {name: tuple(dict.fromkeys(genes)) for name, genes in pairs}


def group_positions(sizes: NetworkSizes, groups: Groups | str | None) -> dict[str, list[int]]:
    """Return which positions of the vector [tumor genes, TME genes] belong to each group.

    Parameters
    ----------
    sizes : NetworkSizes
        With the measured genes.
    groups : mapping or str, optional
        Symbols by group; :func:`shipped_groups` by default. After them come the genes of either subspace that no group holds.
        Groups with fewer than ``LEAST_GENES`` measured genes are left out; if none remains: one group a subspace.
        :data:`CHUNKS`: six contiguous parts of the vector, whatever the genes are.

    Returns
    -------
    dict of str to list of int
        Every position occurs at least once; no group is empty.
    """
    tumor, tme = list(sizes.tumor_genes), list(sizes.tme_genes)
    total = len(tumor) + len(tme)
    if isinstance(groups, str):
        edges = [round(i * total / _CHUNKS) for i in range(_CHUNKS + 1)]
        chunks = {f"chunk {i + 1}": list(range(edges[i], edges[i + 1])) for i in range(_CHUNKS)}
        return {name: positions for name, positions in chunks.items() if positions}
    known = {name: set(genes) for name, genes in (shipped_groups() if groups is None else groups).items()}
    found = {name: [i for i, g in enumerate(tumor + tme) if g in genes] for name, genes in known.items()}
    kept = {name: positions for name, positions in found.items() if len(positions) >= LEAST_GENES}
    grouped = {i for positions in kept.values() for i in positions}
    which = "other " if kept else ""
    rest = {
        f"{which}tumor genes": [i for i in range(len(tumor)) if i not in grouped],
        f"{which}TME genes": [i for i in range(len(tumor), total) if i not in grouped],
    }
    return kept | {name: positions for name, positions in rest.items() if positions}
