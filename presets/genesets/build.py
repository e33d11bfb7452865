#!/usr/bin/env python3
"""Rebuild the subspaces' lists and groups.gmt from the published lists.

    python presets/genesets/build.py PUBLISHED_LISTS [--out presets/genesets]

PUBLISHED_LISTS is a folder with the files named below (README.md says where each comes from). Standard library only; the same
input gives the same bytes.
"""

from __future__ import annotations

import argparse
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
#: Of MCP-counter's markers (Signatures/genes.txt), those of endothelial cells and of fibroblasts; all others are of immune cells.
ENDOTHELIAL_CELLS = {
    "ACVRL1", "ADGRL4", "APLN", "BCL6B", "BMP6", "BMX", "CDH5", "CLEC14A", "DIPK2B", "EDN1", "EMCN",
    "ESAM", "ESM1", "FAM124B", "HECW2", "HHIP", "KDR", "MMRN1", "MMRN2", "MYCT1", "PALMD", "PEAR1",
    "PGF", "PLXNA2", "PTPRB", "ROBO4", "SHANK3", "SHE", "TEK", "TIE1", "VEPH1", "VWF",
}  # fmt: skip
FIBROBLASTS = {"COL1A1", "COL3A1", "COL6A1", "COL6A2", "DCN", "GREM1", "PAMR1", "TAGLN"}
#: The hallmarks of the microenvironment once more, by finer subspace.
IMMUNE_HALLMARKS, VESSEL_HALLMARKS, STROMA_HALLMARKS = (
    TME_HALLMARKS[:7],
    TME_HALLMARKS[7:9],
    TME_HALLMARKS[9:],
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


def approved(genes: set[str]) -> list[str]:
    """Replace outdated symbols, drop what is no symbol, sort."""
    return sorted({APPROVED.get(gene, gene) for gene in genes - NOT_A_SYMBOL})


def main() -> None:
    """Write the files and print what each source adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("published_lists", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    arguments = parser.parse_args()
    hallmarks = read_gmt(arguments.published_lists / "hallmark50.gmt")

    def published(name: str) -> set[str]:
        return read_list(arguments.published_lists / f"{name}.txt")

    def chosen(*names: str) -> dict[str, set[str]]:
        return {name: hallmarks[name] for name in names}

    core = set.intersection(*chosen(*TUMOR_HALLMARK_CORE).values())
    (markers,) = map(published, TME_LISTS)
    assert markers > ENDOTHELIAL_CELLS | FIBROBLASTS, "not the list of MCP-counter's markers"
    immune_cells = markers - ENDOTHELIAL_CELLS - FIBROBLASTS
    sources = {
        "tumor": {name: published(name) for name in TUMOR_LISTS} | {"G2M and E2F hallmark": core},
        "tme": dict.fromkeys(TME_LISTS, markers) | chosen(*TME_HALLMARKS),
        "immune": {"immune cells": immune_cells} | chosen(*IMMUNE_HALLMARKS),
        "stroma": {"fibroblasts": FIBROBLASTS} | chosen(*STROMA_HALLMARKS),
        "vasculature": {"endothelial cells": ENDOTHELIAL_CELLS} | chosen(*VESSEL_HALLMARKS),
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
    for divided in (("tumor", "tme"), ("tumor", "immune", "stroma", "vasculature")):
        owners = Counter(gene for subspace in divided for gene in genes[subspace])
        alone = {name: sum(owners[gene] == 1 for gene in genes[name]) for name in divided}
        print(f"of {' | '.join(divided)}\t{len(owners)} genes; in one list only: {alone}")


if __name__ == "__main__":
    main()
