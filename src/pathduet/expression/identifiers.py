"""Gene identifiers: Ensembl and NCBI (Entrez) ids, former symbols and aliases become one symbol per gene."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from functools import cache

from pathduet.core.shipped import GENE_SETS

_ENSEMBL = re.compile(r"(ENSG\d{11})(?:\.\d+)?(?:_PAR_Y)?")


@cache
def _identifiers() -> tuple[frozenset[str], dict[str, str], dict[str, str]]:
    """Return all symbols, {Ensembl or NCBI gene id: symbol} and {other name of a gene: symbol}."""
    packed = (GENE_SETS / "identifiers.tsv.gz").read_bytes()
    symbols: list[str] = []
    by_id: dict[str, str] = {}
    by_other: dict[str, str] = {}
    # called by every job that reads expression: cells hold no quotes, and csv would take twice as long
    for line in gzip.decompress(packed).decode().splitlines()[1:]:
        symbol, ensembl, entrez, others = line.split("\t")
        symbols.append(symbol)
        for identifier in ensembl.split(";"):
            by_id[identifier] = symbol
        by_id[entrez] = symbol
        if others:
            for name in others.split(";"):
                by_other[name] = symbol
    return frozenset(symbols), by_id, by_other


def forget_identifiers() -> None:
    """Free the memory of the table of identifiers, 16 MiB; it is read again when it is needed."""
    _identifiers.cache_clear()


def known_identifiers(names: Iterable[str]) -> list[str]:
    """Return the names that are genes: current and former symbols, aliases, Ensembl ids; not bare numbers."""
    symbols, _, by_other = _identifiers()
    return [name for name in names if name in symbols or name in by_other or _ENSEMBL.fullmatch(name)]


def harmonised_symbols(genes: Iterable[str]) -> list[str]:
    """Return each gene's symbol in ``presets/genesets/identifiers.tsv.gz``; unlisted genes stay as given.

    The symbols are GENCODE v36's, which the GDC uses, or HGNC's for genes that GENCODE v36 names differently or
    lacks. Ensembl ids lose their version (``ENSG00000091831.24`` -> ESR1; unknown ones stay, without version). NCBI
    gene (Entrez) ids, bare numbers, become symbols too (``2099`` -> ESR1; unknown ones stay numbers). Of several names in
    one (``TP53|7157``, ``ENSG00000141510.18|TP53``), a known id is used, else the first name. A former or newer symbol
    (IL8 -> CXCL8), an alias of only one gene (HER2 -> ERBB2), or a symbol whose hyphens R turned into dots (HLA.A),
    is replaced only if the symbol itself is not among `genes`.
    """
    genes = list(genes)
    symbols, by_id, by_other = _identifiers()
    present = set(genes)
    result = []
    for gene in genes:
        if "|" in gene:
            parts = gene.split("|")
            ids = (part for part in parts if part in by_id or _ENSEMBL.fullmatch(part))
            gene = next(ids, gene if parts[0] in ("", "?") else parts[0])
        if match := _ENSEMBL.fullmatch(gene):
            result.append(by_id.get(match[1], match[1]))
            continue
        if gene.isdecimal():
            result.append(by_id.get(gene, gene))
            continue
        hyphenated = gene.replace(".", "-")
        known = by_other.get(gene) or (hyphenated if hyphenated in symbols else None)
        result.append(known if known and known not in present else gene)
    return result
