#!/usr/bin/env python3
"""Rebuild tumor.txt, tme.txt and groups.gmt from the published lists, and identifiers.tsv for their genes.

    python presets/genesets/build.py PUBLISHED_LISTS [--identifiers GENE_MODEL HGNC] [--entrez ENTREZ] [--out presets/genesets]

PUBLISHED_LISTS is a folder with the files named below (README.md says where each comes from). GENE_MODEL is
any GDC STAR-counts table (GENCODE v36): its gene_id and gene_name columns give the Ensembl ids. HGNC is
a table from genenames.org with the columns "Approved symbol", "Status", "Previous symbols" and "Ensembl gene
ID". ENTREZ has lines "NCBI gene id, tab, gene name(SYMBOL)". Standard library only; the same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
from collections import Counter
from pathlib import Path

#: Plain lists (one symbol a line) and hallmark sets that make up each subspace.
TUMOR_LISTS = (
    "tumor_neftel_AC",
    "tumor_neftel_OPC",
    "tumor_neftel_NPC1",
    "tumor_neftel_NPC2",
    "tumor_neftel_MES1",
    "tumor_neftel_MES2",
    "tumor_neftel_G1S",
    "tumor_neftel_G2M",
    "tumor_sanchezvega_10pathways",
)
#: Only what *both* sets hold: the core of the proliferation programme.
TUMOR_HALLMARK_CORE = ("G2M_CHECKPOINT", "E2F_TARGETS")
TME_LISTS = ("tme_mcpcounter_111_CC0",)
TME_HALLMARKS = (
    "INFLAMMATORY_RESPONSE",
    "INTERFERON_GAMMA_RESPONSE",
    "INTERFERON_ALPHA_RESPONSE",
    "IL6_JAK_STAT3_SIGNALING",
    "IL2_STAT5_SIGNALING",
    "ALLOGRAFT_REJECTION",
    "COMPLEMENT",
    "COAGULATION",
    "ANGIOGENESIS",
    "EPITHELIAL_MESENCHYMAL_TRANSITION",
)
#: What the sources say about malignant cells and about the microenvironment, three groups each (groups.gmt).
GROUPS = {
    "malignant cell states": tuple(
        name for name in TUMOR_LISTS if name.startswith("tumor_neftel") and "G" not in name
    ),
    "oncogenic pathways": ("tumor_sanchezvega_10pathways",),
    "proliferation": ("tumor_neftel_G1S", "tumor_neftel_G2M", "G2M and E2F hallmark"),
    "cell populations": TME_LISTS,
    "inflammation": TME_HALLMARKS[:6],
    "vessels and matrix": TME_HALLMARKS[6:],
}
#: Symbols that the lists use and HGNC has since replaced.
APPROVED = {
    "C8orf4": "TCIM",
    "ERO1L": "ERO1A",
    "GPR56": "ADGRG1",
    "H2AFZ": "H2AZ1",
    "HIST1H4C": "H4C3",
    "HMP19": "NSG2",
    "HN1": "JPT1",
    "HRASLS": "PLAAT1",
    "KIAA0101": "PCLAF",
    "LOC150568": "LINC01102",
    "LPPR1": "PLPPR1",
    "MLF1IP": "CENPU",
    "NOV": "CCN3",
    "PPAP2B": "PLPP3",
    "SEPT3": "SEPTIN3",
    "TMEM206": "PACC1",
    "WARS": "WARS1",
}
#: An entry of the copied MCP-counter list that is no gene symbol.
NOT_A_SYMBOL = {"C"}


def read_list(path: Path) -> set[str]:
    """Return the symbols of a file with one symbol a line."""
    return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}


def read_gmt(path: Path) -> dict[str, set[str]]:
    """Return {set name without HALLMARK_: symbols} of a GMT file."""
    sets = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, *genes = line.split("\t")
        sets[name.removeprefix("HALLMARK_")] = {g for g in genes if g}
    return sets


def ensembl_ids(path: Path) -> dict[str, list[str]]:
    """Return {gene_name: Ensembl gene ids without version} of a GDC STAR-counts table."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as handle:  # type: ignore[operator]
        rows = csv.DictReader((line for line in handle if not line.startswith("#")), delimiter="\t")
        ids: dict[str, list[str]] = {}
        for row in rows:
            # The second copy of the pseudoautosomal genes (..._PAR_Y) is always 0 in GENCODE v36.
            if row["gene_name"] and not row["gene_id"].endswith("_PAR_Y"):
                ids.setdefault(row["gene_name"], []).append(row["gene_id"].split(".")[0])
    return ids


def approved(genes: set[str]) -> list[str]:
    """Replace outdated symbols, drop what is no symbol, sort."""
    return sorted({APPROVED.get(gene, gene) for gene in genes - NOT_A_SYMBOL})


def other_symbols(hgnc: Path, model: dict[str, list[str]]) -> dict[str, set[str]]:
    """Return {symbol in the gene model: its former and newer symbols}, as far as they name one gene only."""
    with hgnc.open(encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle, delimiter="\t") if row["Status"] == "Approved"]
    taken = {row["Approved symbol"] for row in rows} | set(model)
    by_ensembl = {ids[0]: gene for gene, ids in model.items()}
    names: dict[str, set[str]] = {}
    for row in rows:
        today = row["Approved symbol"]
        former = {name.strip() for name in row["Previous symbols"].split(",")} - {""}
        gene = today if today in model else by_ensembl.get(row["Ensembl gene ID"], today)
        names.setdefault(gene, set()).update((former - taken) | ({today} - {gene}))
    for old, today in APPROVED.items():
        names.setdefault(today, set()).update({old} - taken)
    owners: dict[str, int] = {}
    for others in names.values():
        for name in others:
            owners[name] = owners.get(name, 0) + 1
    return {gene: {name for name in others if owners[name] == 1} for gene, others in names.items()}


def write_identifiers(path: Path, genes: list[str], gene_model: Path, hgnc: Path) -> None:
    """Write each gene's Ensembl ids and other symbols."""
    model = ensembl_ids(gene_model)
    others = other_symbols(hgnc, model)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t", lineterminator="\n")
        writer.writerow(["gene_symbol", "ensembl_id", "other_symbols"])
        for gene in genes:
            writer.writerow([gene, ";".join(model.get(gene, [])), ";".join(sorted(others.get(gene, ())))])
    absent = [gene for gene in genes if gene not in model]
    print(f"without an Ensembl id\t{len(absent)}\t{' '.join(absent)}")
    print(f"with another symbol\t{sum(bool(others.get(gene)) for gene in genes)}")


def entrez_ids(path: Path) -> dict[str, str]:
    """Return {symbol: NCBI gene id} of lines ``7157<tab>tumor protein p53(TP53)``; symbols with several ids are left out."""
    ids: dict[str, set[str]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        number, _, name = line.partition("\t")
        if match := re.search(r"\(([^()]+)\)$", name):
            ids.setdefault(match[1], set()).add(number)
    return {symbol: next(iter(numbers)) for symbol, numbers in ids.items() if len(numbers) == 1}


def add_entrez(path: Path, table: Path) -> None:
    """Fill the column entrez_id of identifiers.tsv: by the gene's own symbol, else by its other ones."""
    known = entrez_ids(table)
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    for row in rows:
        names = [row["gene_symbol"], *row["other_symbols"].split(";")]
        row["entrez_id"] = next((known[name] for name in names if name in known), "")
    twice = Counter(row["entrez_id"] for row in rows)
    for row in rows:
        if twice[row["entrez_id"]] > 1:
            row["entrez_id"] = ""
    with path.open("w", encoding="utf-8", newline="") as handle:
        columns = ["gene_symbol", "ensembl_id", "entrez_id", "other_symbols"]
        writer = csv.DictWriter(handle, columns, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"with an NCBI gene id\t{sum(bool(row['entrez_id']) for row in rows)}")


def main() -> None:
    """Write the files and print what each source adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("published_lists", type=Path)
    parser.add_argument("--identifiers", nargs=2, type=Path, metavar=("GENE_MODEL", "HGNC"))
    parser.add_argument("--entrez", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    arguments = parser.parse_args()
    hallmarks = read_gmt(arguments.published_lists / "hallmark50.gmt")

    def published(name: str) -> set[str]:
        return read_list(arguments.published_lists / f"{name}.txt")

    core = set.intersection(*(hallmarks[name] for name in TUMOR_HALLMARK_CORE))
    sources = {
        "tumor": {name: published(name) for name in TUMOR_LISTS} | {"G2M and E2F hallmark": core},
        "tme": {name: published(name) for name in TME_LISTS} | {n: hallmarks[n] for n in TME_HALLMARKS},
    }
    genes = {}
    for subspace, lists in sources.items():
        so_far: set[str] = set()
        for name, found in lists.items():
            print(f"{subspace}\t{name}\t{len(found)} genes, {len(found - so_far)} new")
            so_far |= found
        genes[subspace] = approved(so_far)
        (arguments.out / f"{subspace}.txt").write_text("\n".join(genes[subspace]) + "\n", encoding="utf-8")
        print(f"{subspace}\ttotal\t{len(genes[subspace])}")
    every_list = {**sources["tumor"], **sources["tme"]}
    lines = [
        "\t".join([group, "; ".join(names), *approved(set().union(*(every_list[name] for name in names)))])
        for group, names in GROUPS.items()
    ]
    (arguments.out / "groups.gmt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    everything = sorted({*genes["tumor"], *genes["tme"]})
    print(f"both\t{len(set(genes['tumor']) & set(genes['tme']))}; either\t{len(everything)}")

    if arguments.identifiers:
        write_identifiers(arguments.out / "identifiers.tsv", everything, *arguments.identifiers)
    if arguments.entrez:
        add_entrez(arguments.out / "identifiers.tsv", arguments.entrez)


if __name__ == "__main__":
    main()
