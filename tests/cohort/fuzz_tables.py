"""Mangled tables by the hundred: each must be refused in words that name it, or be read as what its cells say.

By hand, the long form (some minutes):

    nice python tests/cohort/fuzz_tables.py --variants 600 --seed 1

The tests run a short one with the same checks. What `pathduet check` and the start of a run ask is asked of every table.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from pathduet.core.errors import InputError
from pathduet.core.sheet_file import MISSING
from pathduet.expression.gene_sets import shipped
from pathduet.workflow.plan import Plan
from pathduet.workflow.preflight import check_inputs

Cells = list[list[str]]
KINDS = ("slides", "patients", "expression", "samples", "folds")
GENES = shipped("tumor")[:20] + shipped("tme")[:20]
ODD = (
    "1e400", "-5", "1,5", "0x1F", "\u0661\u0662", "\u00bd", "1_000", "inf", "nan", "1e-320", "--", "TRUE", "True", "12 345", "9" * 400,
    "1.5.2", "1e5", "+3", ".5", "5.", "1E3", "0", "-0", "1d5", "1/2", "50%", "NaT", "2021-03-01", "None", "NA", "<NA>", "-", "?",
)  # fmt: skip
STRANGE = (
    '"', 'a"b', "'x'", '""', "=1+1", "+cmd|' /C calc'!A0", "@SUM(1)", "x" * 200_000, "a\0b", "\0", " P001 ", "\u00a0P001", "P001\u200b",
    "P001\nP002", "\u7532", "..", "../P001", "P001/1", "con", "-rf", "{x}", "$(id)", "%s", "\x1b[31mP", "\ufeffP001", "p001", "P001,P002",
    "P001;P002", "#P001", "P001\tP002",
)  # fmt: skip
#: Changes that leave a table's meaning as it is.
HARMLESS = {"columns moved", "rows shuffled", "blank row", "blank column", "padded"}


def base(kind: str) -> Cells:
    """Return a good table."""
    patients = [f"P{i:03d}" for i in range(1, 13)]
    if kind == "slides":
        rows = [[f"S{i:03d}", p, f"slides/{p}.svs", "0.5"] for i, p in enumerate(patients)]
        return [["slide_id", "patient_id", "path", "mpp"], *rows]
    if kind == "patients":
        rows = [
            [p, "ab"[i % 2], str(100 + 70 * i), str(int(i % 3 > 0)), str(40 + i)]
            for i, p in enumerate(patients)
        ]
        return [["patient_id", "kind", "days", "dead", "age"], *rows]
    if kind == "folds":
        return [["patient_id", "fold"], *([p, str(i % 2)] for i, p in enumerate(patients))]
    if kind == "samples":
        return [["sample_id", "patient_id"], *([f"X{p}", p] for p in patients)]
    rng = random.Random(0)
    rows = [[gene, *(f"{rng.lognormvariate(1, 1):.3f}" for _ in patients)] for gene in GENES]
    return [["gene_symbol", *(f"X{p}" for p in patients)], *rows]


def mutate(cells: Cells, rng: random.Random) -> str:
    """Change a table in one way, and say which."""
    row, column = rng.randrange(len(cells)), rng.randrange(len(cells[0]))
    below, other = rng.randrange(1, len(cells)), rng.randrange(len(cells[0]))

    def swap_columns() -> None:
        for line in cells:
            line[column], line[other] = line[other], line[column]

    def swap_headings() -> None:
        cells[0][column], cells[0][other] = cells[0][other], cells[0][column]

    def for_column(change: Callable[[str], str]) -> None:
        for line in cells[1:]:
            line[column] = change(line[column])

    ways: dict[str, Callable[[], Any]] = {
        "empty cell": lambda: cells[below].__setitem__(column, rng.choice(["", "NA", "nan", "n/a", "NULL"])),
        "odd number": lambda: cells[below].__setitem__(column, rng.choice(ODD)),
        "strange cell": lambda: cells[row].__setitem__(column, rng.choice(STRANGE)),
        "columns moved": swap_columns,
        "headings swapped": swap_headings,
        "cells swapped": lambda: cells[below].__setitem__(slice(None), cells[below][::-1]),
        "row twice": lambda: cells.insert(below, list(cells[below])),
        "row gone": lambda: cells.pop(below),
        "column twice": lambda: [line.append(line[column]) for line in cells],
        "column gone": lambda: [line.pop(column) for line in cells],
        "cell too many": lambda: cells[row].append("x"),
        "cell too few": lambda: cells[row].pop(),
        "no heading": lambda: cells.pop(0),
        "no corner": lambda: cells[0].pop(0),
        "heading misspelt": lambda: cells[0].__setitem__(column, cells[0][column][:-1]),
        "heading in capitals": lambda: cells[0].__setitem__(column, cells[0][column].upper()),
        "rows shuffled": lambda: rng.shuffle(cells[1:]),
        "blank row": lambda: cells.insert(below, [""] * len(cells[0])),
        "blank column": lambda: [line.append("") for line in cells],
        "further column": lambda: [line.append("note" if i else "remark") for i, line in enumerate(cells)],
        "decimal commas": lambda: for_column(lambda cell: cell.replace(".", ",")),
        "padded": lambda: for_column(lambda cell: f" {cell} "),
        "column of one value": lambda: for_column(lambda cell: "1"),
        "only a heading": lambda: cells.__setitem__(slice(1, None), []),
        "transposed": lambda: cells.__setitem__(
            slice(None), [list(line) for line in zip(*cells, strict=False)]
        ),
    }
    way = rng.choice(list(ways))
    with suppress(IndexError):  # of rows that an earlier change made shorter
        ways[way]()
    return way


def write(cells: Cells, folder: Path, kind: str, rng: random.Random) -> tuple[Path, str]:
    """Write cells as some file, now and then a damaged one; return it, and how it was damaged ("" if not)."""
    suffix = rng.choice([".tsv"] * 3 + [".csv", "; .csv", ".txt", ".xlsx"])
    path = folder / (kind + suffix.removeprefix("; "))
    if suffix == ".xlsx":
        from openpyxl import Workbook
        from openpyxl.utils.exceptions import IllegalCharacterError

        book = Workbook()
        try:
            for line in cells:
                book.active.append([cell[:32_000] for cell in line])
        except IllegalCharacterError:
            return write(cells, folder, kind, rng)
        book.save(path)
        data = path.read_bytes()
    else:
        text = io.StringIO()
        separator = {".csv": ",", "; .csv": ";"}.get(suffix, "\t")
        csv.writer(text, delimiter=separator, lineterminator=rng.choice(["\n", "\r\n"])).writerows(cells)
        encoding = rng.choice(["utf-8"] * 4 + ["utf-8-sig", "utf-16"])
        data = text.getvalue().encode(encoding, "surrogatepass")
    damage = ""
    if rng.random() < 0.15:
        at = rng.randrange(len(data)) if data else 0
        damage, data = rng.choice(
            [
                ("cut", data[:at]),
                ("flipped", data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]),
                ("NUL", data[:at] + b"\0\0" + data[at:]),
                ("noise", rng.randbytes(500)),
                ("latin-1", data[:at] + b"\xfc" + data[at:]),
                ("an open quote", data[:at] + b'"' + data[at:]),
                ("old Mac", data.replace(b"\r\n", b"\n").replace(b"\n", b"\r")),
                ("empty", b""),
            ]
        )
    if kind == "expression" and suffix != ".xlsx" and rng.random() < 0.3:
        path, data = path.with_name(path.name + ".gz"), gzip.compress(data)
        if rng.random() < 0.2:
            damage, data = "gzip cut", data[: len(data) // 2]
    path.write_bytes(data)
    return path, damage


def configuration(folder: Path, files: dict[str, str]) -> dict[str, Any]:
    """Return the configuration of a cohort of these tables."""
    table = {"cohort": "cohort", "path": files["expression"], "unit": "tpm", "samples": files["samples"]}
    return {
        "results": str(folder / "results"),
        "sheets": {"slides": files["slides"], "patients": files["patients"]},
        "tasks": {
            "kind": {"kind": "classification", "column": "kind", "classes": ["a", "b"]},
            "os": {"kind": "survival", "time": "days", "event": "dead", "bins": 2},
        },
        "covariates": {"age": "numeric"},
        "encoder": {"name": "random"},
        "expression": {"tables": [table], "hvg_fraction": 1.0},
        "split": {"folds": 2, "file": files["folds"]},
    }


def said(cells: Cells) -> Cells:
    """Return cells as any reader has to see them: stripped, missing ones empty, without blank rows."""
    plain = [[cell.strip().lstrip("\ufeff") for cell in line] for line in cells]
    plain = [["" if cell.casefold() in MISSING else cell for cell in line] for line in plain]
    return [plain[0], *(line for line in plain[1:] if any(line))]


def contradictions(kind: str, cells: Cells, plan: Plan, tables: list[Any]) -> list[str]:
    """Return where an accepted table was read as something else than its cells say."""
    header, *rows = said(cells)
    records = [dict(zip(header, [*line, *[""] * len(header)], strict=False)) for line in rows]
    if kind == "slides":
        read = {s.slide_id: (s.patient_id, s.path.name, s.mpp) for s in plan.slides}
        wanted = {
            r["slide_id"]: (r["patient_id"], Path(r["path"]).name, float(r["mpp"]) if r.get("mpp") else None)
            for r in records
        }
        return [] if read == wanted else [f"{read} is not {wanted}"]
    if kind == "patients":
        wrong = []
        for r in records:
            own = plan.patients.loc[r["patient_id"]]
            wrong += [f"{r['patient_id']}, {c}: {own.get(c)!r}" for c, v in r.items() if c and (own.get(c) or "") != v and c != "patient_id"]  # fmt: skip
        return wrong + (["patients lost"] if len(plan.patients) != len(records) else [])
    if kind == "folds":
        read = dict(zip(plan.fold_table["patient_id"], plan.fold_table["fold"], strict=True))
        wanted = {r["patient_id"]: int(r["fold"]) for r in records}
        return [] if read == wanted else [f"{read} is not {wanted}"]
    (table,) = tables
    if kind == "samples":
        wanted = {r["sample_id"]: r["patient_id"] for r in records}
        read = table.samples["patient_id"].to_dict()
        return [f"{s}: {p}, not {wanted.get(s)}" for s, p in read.items() if wanted.get(s) != p]
    wrong, corner = [], header.index("gene_symbol")
    genes = [line[corner] for line in rows]
    for line in rows:
        gene = line[corner]
        if gene not in GENES or genes.count(gene) > 1:
            continue
        numbers = {}
        for title, cell in zip(header, line, strict=False):
            if title in table.values.columns:
                with suppress(ValueError):
                    numbers[title] = None
                    numbers[title] = float(cell.replace(",", "."))
        if None in numbers.values() or len(line) < len(header):
            wrong += [f"{gene} has no value everywhere, but was kept"] if gene in table.values.index else []
        elif gene not in table.values.index:
            wrong.append(f"{gene} was lost")
        elif any(table.values.at[gene, title] != value for title, value in numbers.items()):
            wrong.append(f"{gene}: {table.values.loc[gene].to_dict()}, not {numbers}")
    return wrong


def fuzz(folder: Path, variants: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Mangle tables; return how many were refused and read, and everything that went wrong."""
    rng, found, counts = random.Random(seed), [], Counter[str]()
    (folder / "slides").mkdir(parents=True)
    good = {}
    for kind in KINDS:
        good[kind] = str(folder / f"good_{kind}.tsv")
        with Path(good[kind]).open("w") as handle:
            csv.writer(handle, delimiter="\t", lineterminator="\n").writerows(base(kind))
    for line in base("patients")[1:]:
        (folder / "slides" / f"{line[0]}.svs").touch()
    check_inputs(Plan.from_config(configuration(folder, good)))
    for number in range(variants):
        kind, cells = KINDS[number % len(KINDS)], base(KINDS[number % len(KINDS)])
        ways = [
            mutate(cells, rng) for _ in range(rng.choice([1, 1, 2])) if cells and cells[0] and len(cells) > 1
        ]
        path, damage = write(cells, folder, kind, rng)
        case = f"{number} {kind} {path.name}: {', '.join([*ways, damage])}"
        try:
            plan = Plan.from_config(configuration(folder, {**good, kind: str(path)}))
            tables = check_inputs(plan)
        except InputError as error:
            counts[f"{kind} refused"] += 1
            words = str(error)
            if set(ways) <= HARMLESS and not damage:
                found.append(f"{case}: refused: {words[:300]}")
            if not any(
                word in words
                for word in (
                    path.name,
                    "task ",
                    "covariates",
                    "patient",
                    "expression of",
                    "genes, ",
                    "split",
                    "tasks.",
                )
            ):
                found.append(f"{case}: names no file: {words[:300]}")
        except Exception as error:
            found.append(f"{case}: {type(error).__name__}: {str(error)[:300]}")
        else:
            counts[f"{kind} read"] += 1
            if not damage:
                found += [f"{case}: {wrong[:300]}" for wrong in contradictions(kind, cells, plan, tables)]
        path.unlink()
    return counts, found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        totals, problems = fuzz(Path(place) / "fuzz", chosen.variants, chosen.seed)
    print(yaml.safe_dump(dict(totals)) + "\n".join(problems or ["nothing wrong"]))
