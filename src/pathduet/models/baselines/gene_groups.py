"""Groups of genes for models that read one token per group (MCAT, CMTA).

Chen et al. (ICCV 2021) give their co-attention transformer six functional families of MSigDB: tumor suppressors, oncogenes, protein kinases, cell differentiation
markers, transcription factors, cytokines and growth factors. Their table can be given as a file
(:func:`read_gene_groups` reads it unchanged). The default is the six groups shipped in ``presets/genesets/groups.gmt``, from the freely licensed
sources of the shipped gene lists. A gene may be in several groups; genes in none form one more group per subspace, so that no gene is lost.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from pathduet.core.errors import InputError
from pathduet.expression.gene_sets import named_sets, read_gmt, shipped_gmt
from pathduet.models.inputs import NetworkSizes

#: Gene symbols by group.
Groups = Mapping[str, Sequence[str]]

#: Fewest measured genes of a group with its own token; the genes of smaller groups join their subspace's rest.
LEAST_GENES = 3
#: Instead of groups: contiguous parts of the gene list, as in the method's public code for these models.
CHUNKS = "chunks"
_CHUNKS = 6


def read_gene_groups(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read groups from a file.

    Parameters
    ----------
    path : str or Path
        ``.gmt`` (name, description, genes; tabs between them), or ``.csv`` or ``.tsv`` with one column per group, the group's
        name as its header (MCAT's ``signatures.csv``).

    Raises
    ------
    InputError
        If the file is missing, of another kind, or holds no group, an empty group, or a duplicate name.
    """
    path = Path(path)
    if path.suffix == ".gmt":
        return read_gmt(path)
    where = f"gene sets {path.name}"
    if not path.is_file():
        raise InputError.of(where, "no such file", "give an existing .gmt, .csv or .tsv file")
    if path.suffix not in (".csv", ".tsv"):
        raise InputError.of(where, f"ends in {path.suffix!r}", "give a .gmt, .csv or .tsv file")
    text = path.read_text(encoding="utf-8-sig")
    rows = list(csv.reader(text.splitlines(), delimiter="," if path.suffix == ".csv" else "\t"))
    names = rows[0] if rows else []
    columns = [[row[i] for row in rows[1:] if i < len(row)] for i in range(len(names))]
    return named_sets(zip(names, columns, strict=True), path.name)


def group_positions(sizes: NetworkSizes, groups: Groups | str | None) -> dict[str, list[int]]:
    """Return which positions of the vector of all subspaces' genes, in their order, belong to each group.

    Parameters
    ----------
    sizes : NetworkSizes
        With the measured genes.
    groups : mapping or str, optional
        Symbols by group; the shipped ``groups.gmt`` by default. Each subspace's genes that no group holds follow.
        Groups with fewer than ``LEAST_GENES`` measured genes are left out; if none remains: one group per subspace.
        :data:`CHUNKS`: six contiguous parts of the vector, regardless of the genes.

    Returns
    -------
    dict of str to list of int
        Every position occurs at least once; no group is empty.
    """
    owned = [(gene, subspace) for subspace, genes in sizes.genes.items() for gene in genes]
    total = len(owned)
    if isinstance(groups, str):
        edges = [round(i * total / _CHUNKS) for i in range(_CHUNKS + 1)]
        chunks = {f"chunk {i + 1}": list(range(edges[i], edges[i + 1])) for i in range(_CHUNKS)}
        return {name: positions for name, positions in chunks.items() if positions}
    known = {name: set(genes) for name, genes in (shipped_gmt() if groups is None else groups).items()}
    found = {name: [i for i, (gene, _) in enumerate(owned) if gene in genes] for name, genes in known.items()}
    kept = {name: positions for name, positions in found.items() if len(positions) >= LEAST_GENES}
    grouped = {i for positions in kept.values() for i in positions}
    which = "other " if kept else ""
    rest = {
        f"{which}{name} genes": [
            i for i, (_, subspace) in enumerate(owned) if subspace == name and i not in grouped
        ]
        for name in sizes.genes
    }
    return kept | {name: positions for name, positions in rest.items() if positions}
