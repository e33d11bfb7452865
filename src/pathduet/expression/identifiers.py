"""Gene identifiers: Ensembl and NCBI (Entrez) ids, former and newer symbols become the symbols of the shipped lists."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

_ENSEMBL = re.compile(r"(ENSG\d{11})(?:\.\d+)?(?:_PAR_Y)?")


@cache
def _identifiers() -> tuple[frozenset[str], dict[str, str], dict[str, str]]:
    """Return the shipped lists' symbols, {Ensembl or NCBI gene id: symbol} and {former or newer symbol: symbol}."""
    symbols: set[str] = set()
    by_id: dict[str, str] = {}
    by_other: dict[str, str] = {}
    text = (files("pathduet") / "_genesets" / "identifiers.tsv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        symbols.add(row["gene_symbol"])
        by_id |= dict.fromkeys(filter(None, row["ensembl_id"].split(";")), row["gene_symbol"])
        if row["entrez_id"]:
            by_id[row["entrez_id"]] = row["gene_symbol"]
        by_other |= dict.fromkeys(filter(None, row["other_symbols"].split(";")), row["gene_symbol"])
    return frozenset(symbols), by_id, by_other


def harmonised_symbols(genes: Iterable[str]) -> list[str]:
    """Return each gene by the symbol that the shipped lists use, if they hold it, else as given.

    Ensembl ids lose their version (``ENSG00000164611.13`` -> PTTG1; unknown ones stay, without version). NCBI gene
    (Entrez) ids, bare numbers, become symbols too (``9232`` -> PTTG1; unknown ones stay numbers). A former
    or newer symbol (IL8 -> CXCL8), or one whose hyphens R turned into dots (HLA.A), is replaced only if the
    symbol itself is not among `genes`.
    """
    genes = list(genes)
    symbols, by_id, by_other = _identifiers()
    present = set(genes)
    result = []
    for gene in genes:
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
