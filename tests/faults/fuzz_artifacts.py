"""Damage a finished run's artifacts, one at a time, and read each with what reads it: refused by name, or the same output.

    python tests/faults/fuzz_artifacts.py --results results --cases 120 --seed 1 --folder /tmp/fuzz

Kinds of artifact take turns; of each a file, a kind of damage and the date that it keeps are drawn. Readers are called as jobs
call them, but without the comparison of their declared inputs, which would end most of them before they begin. Exit status 0
if every damage was refused with the file's name or changed nothing, and nothing ended in an error that nobody expected.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pathduet.core import checksums
from pathduet.core.errors import PathDuetError
from pathduet.results import Results

Reader = Callable[[Path], None]

#: Kind of artifact, and the readers that open it.
KINDS: dict[str, tuple[str, ...]] = {
    "slides/*/tiles.h5": ("features export", "export"),
    "slides/*/stain.json": ("export", "report"),
    "slides/*/features.h5": ("features export", "heatmap", "predict", "export", "explain"),
    "slides/*/thumbnail.png": ("heatmap",),
    "slides/*/mask.png": ("report",),
    "slides/*/stain.png": ("report",),
    "slides/*/*.status.json": ("features export", "export"),
    "batches/features/*.tsv": ("ledger",),
    "ledger.tsv": ("features export", "predict", "export", "report"),
    "split/folds.tsv": ("export", "predict", "explain"),
    "participation.tsv": ("report",),
    "left_out.tsv": ("report",),
    "genes/fold-*.h5ad": ("predict", "export", "heatmap", "explain", "report"),
    "models/*/teacher/*/weights.safetensors": ("predict", "export", "heatmap", "explain"),
    "models/*/student/*/weights.safetensors": ("explain",),
    "models/*/teacher/*/model.json": ("predict", "export", "heatmap", "table", "explain"),
    "models/*/*/*/model.json": ("table",),
    "models/*/*/*/cost.json": ("table",),
    "models/*/*/*/history.tsv": ("report",),
    "models/*/*/*/predictions.tsv": ("table", "report"),
    "models/*/teacher/*/predictions.tsv": ("explain", "export"),
    "models/*/teacher/*/training_predictions.tsv": ("table", "export", "explain"),
    "models/*/teacher/*/representations.h5": ("explain",),
    "external/*/*/fold-*/predictions.tsv": ("table",),
    "external/*/*/ensemble/predictions.tsv": ("report",),
    "metrics/*.json": ("report",),
    "tables/*.tsv": ("report", "export"),
    "explanations/*/summary.json": ("report",),
    "explanations/*/*.tsv": ("report",),
    "explanations/*/*/*/*/heatmap.png": ("report",),
    "provenance.json": ("export", "heatmap", "status"),
    "provenance/*/*.json": ("crate",),
}
DAMAGES = (
    "flip",
    "truncate",
    "empty",
    "swap",
    "gone",
    "number",
    "missing value",
    "no checksum",
    "other checksum",
)


@dataclass(frozen=True)
class Case:
    """One damage and what became of it."""

    file: str
    damage: str
    reader: str
    outcome: str
    said: str = ""

    @property
    def silent(self) -> bool:
        return self.outcome not in ("refused", "same")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".sha256")
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def readers(root: Path, config: dict[str, Any]) -> dict[str, Reader]:
    """Return what opens artifacts, by name; each writes what it makes of them into a folder."""
    from pathduet.cohort.ledger import build_ledger
    from pathduet.cohort.sheets import read_sheets
    from pathduet.cohort.tasks import tasks_of
    from pathduet.core.files import write_text, write_tsv
    from pathduet.evaluation.evaluate_table import evaluate_table
    from pathduet.explain.feature_export import ExportJob, export_slides, slides_to_export
    from pathduet.explain.fold_results import TaskRun
    from pathduet.explain.task_explanations import explain_task
    from pathduet.explain.viewer.slide_heatmaps import explain_slide, write_picture
    from pathduet.release.export import export_release
    from pathduet.report.build import build_report
    from pathduet.report.summary import headline, recorded_config
    from pathduet.training.fold_jobs import FoldJob
    from pathduet.training.predict import predict_model
    from pathduet.workflow.crate import write_crate
    from pathduet.workflow.plan import Plan

    results, plan, tasks = Results(root), Plan.from_config(config), tasks_of(config)
    folds, sheets = range(config["split"]["folds"]), config["sheets"]
    patients = sheets["patients"] or sheets["slides"]

    def export(out: Path) -> None:
        export_release(root, "teacher", out)

    def features(out: Path) -> None:
        found, _ = slides_to_export(results, [])
        for _, written in export_slides(ExportJob(results, out, "trident"), found):
            if isinstance(written, str):
                raise PathDuetError(written)

    def heatmap(out: Path) -> None:
        slides, _ = slides_to_export(results, [])
        for slide in results.root.glob("slides/*"):
            if slide.name in slides:
                maps = explain_slide(
                    results, slide.name, slides[slide.name], next(iter(tasks)), "teacher", list(folds)
                )
                write_picture(out / f"{slide.name}.png", maps, slide / "thumbnail.png")

    def predict(out: Path) -> None:
        for task in tasks:
            for fold in folds:
                job = FoldJob(tasks[task], "teacher", fold, root, patients, results.genes(fold))
                data = job.data(plan.training_settings(task, "teacher"))
                write_tsv(
                    out / f"{task}-{fold}.tsv", predict_model(job.model_dir(), data, device="cpu").table
                )

    def table(out: Path) -> None:
        for name in plan.tables:
            settings = plan.evaluation_job(name).settings
            evaluate_table(results, plan.every_table[name], settings["rows"], len(folds), settings)
            shutil.copy(results.table(name), out)

    def explain(out: Path) -> None:
        for name, task in tasks.items():
            run = TaskRun(task, results, plan.explanation_settings(name), patients, out / name)
            (out / name).mkdir()
            explain_task(run)

    def ledger(out: Path) -> None:
        rows, _ = read_sheets(sheets["slides"], patients, features_elsewhere=True)
        manifests = sorted((root / "batches/features").glob("*.tsv"))
        write_tsv(out / "ledger.tsv", build_ledger(rows, manifests))

    def status(out: Path) -> None:
        write_text(out / "status.txt", "\n".join(headline(root, recorded_config(root))))

    def crate(out: Path) -> None:
        from datetime import UTC, datetime

        write_crate(results, Path(__file__).parents[2], datetime(2026, 1, 1, tzinfo=UTC))
        shutil.move(results.crate, out)

    return {
        "export": export, "features export": features, "heatmap": heatmap, "predict": predict, "table": table,
        "explain": explain, "ledger": ledger, "status": status, "crate": crate,
        "report": lambda out: build_report(root, config, out / "report.html"),
    }  # fmt: skip


def damage(path: Path, how: str, rng: random.Random) -> bool:
    """Damage a file; False if it cannot be damaged so."""
    data = bytearray(path.read_bytes())
    if how == "flip":
        if not data:
            return False
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == "truncate":
        data = data[: rng.randrange(len(data))] if data else data
    elif how == "empty":
        data.clear()
    elif how == "swap":
        depth = path.parents[0] if path.parents[1].name in ("tables", "metrics") else path.parents[1]
        others = [p for p in sorted(depth.rglob(path.name)) if p != path and p.read_bytes() != data]
        if not others:
            return False
        data = bytearray(rng.choice(others).read_bytes())
    elif how == "gone":
        path.unlink()
        return True
    elif how in ("number", "missing value"):
        if path.suffix in (".h5", ".h5ad", ".safetensors"):
            return _inside(path, how)
        if path.suffix not in (".json", ".tsv"):
            return False
        places = list(re.finditer(rb"(?<=[\t :\[])-?\d+(\.\d+)?(?=[\t,\n\]])", data))
        if not places:
            return False
        place = rng.choice(places)
        nothing = b"NaN" if path.suffix == ".json" else b""
        data[place.start() : place.end()] = (
            nothing if how == "missing value" else b"7" + place[0].lstrip(b"-")
        )
    elif how == "no checksum":
        kept = checksums.checksum_path(path)
        if not kept.is_file():
            return False
        kept.unlink()
        return True
    else:
        kept = checksums.checksum_path(path)
        if not kept.is_file():
            return False
        kept.write_text("0" * 64 + "\n")
        return True
    path.write_bytes(data)
    return True


def _inside(path: Path, how: str) -> bool:
    """Change an array, the file staying well-formed: other numbers of another shape, or missing values."""
    import numpy as np

    if path.suffix == ".safetensors":
        from safetensors.numpy import load, save

        tensors = load(path.read_bytes())
        name = next(n for n, t in tensors.items() if t.dtype.kind == "f")
        tensors[name] = tensors[name] * np.nan if how == "missing value" else tensors[name].reshape(-1)[:-1]
        path.write_bytes(save(tensors))
        return True
    import h5py

    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) and item.ndim else None
        )
        numeric = [n for n in names if file[n].dtype.kind in "fiu" and file[n].size]
        name = numeric[0]
        values = file[name][()]
        if how == "missing value" and values.dtype.kind == "f":
            file[name][...] = np.nan
        else:
            attributes = dict(file[name].attrs)
            del file[name]
            file[name] = values[:-1] + 1
            file[name].attrs.update(attributes)
    return True


def cases(
    root: Path, known: dict[str, Reader], wanted: int, seed: int, folder: Path, each: int = 10**6
) -> Iterator[Case]:
    """Yield `wanted` damages with what became of them, each read by at most `each` of its readers."""
    rng = random.Random(seed)
    kinds = {kind: sorted(root.glob(kind)) for kind in KINDS}
    kinds = {kind: files for kind, files in kinds.items() if files and set(KINDS[kind]) & set(known)}
    base: dict[str, dict[str, str]] = {}
    for number in range(wanted):
        kind = list(kinds)[number % len(kinds)]
        path = rng.choice(kinds[kind])
        names = [name for name in KINDS[kind] if name in known]
        for name in names[:each]:
            if name not in base:
                base[name] = _read(known[name], folder / "undisturbed")
        kept = {p: (p.read_bytes(), p.stat()) for p in (path, checksums.checksum_path(path)) if p.is_file()}
        how = rng.choice(DAMAGES)
        while not damage(path, how, rng):
            how = rng.choice(DAMAGES)
        if path.is_file() and rng.random() < 0.5:
            os.utime(path, ns=(kept[path][1].st_atime_ns, kept[path][1].st_mtime_ns))
        for name in names[:each]:
            checksums._intact.clear()  # readers are processes of their own
            yield _outcome(root, path, how, name, known[name], base[name], folder / "damaged")
        for file, (data, found) in kept.items():
            file.write_bytes(data)
            os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def _read(reader: Reader, out: Path) -> dict[str, str]:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    reader(out)
    return digests(out)


def _outcome(
    root: Path, path: Path, how: str, name: str, reader: Reader, wanted: dict[str, str], out: Path
) -> Case:
    relative = path.relative_to(root).as_posix()
    try:
        found = _read(reader, out)
    except PathDuetError as error:
        said = str(error)
        named = relative in said or (path.parent.name in said and path.name in said)
        return Case(relative, how, name, "refused" if named else "refused without its name", said[:400])
    except Exception as error:
        return Case(relative, how, name, "error", f"{type(error).__name__}: {error}"[:400])
    changed = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
    return Case(relative, how, name, "changed" if changed else "same", ", ".join(changed)[:200])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True, help="of a finished run; copied")
    parser.add_argument("--cases", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    root = Path("results")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(arguments.results, arguments.folder / "run" / root, dirs_exist_ok=True)
    folder = arguments.folder.resolve()
    os.chdir(folder / "run")
    config = json.loads((root / "provenance.json").read_text())["config"]
    known = readers(root, config)
    outcomes: Counter[str] = Counter()
    damaged, silent = set(), []
    for number, case in enumerate(cases(root, known, arguments.cases, arguments.seed, folder)):
        outcomes[case.outcome] += 1
        damaged.add(re.sub(r"[\d-]+", "N", Path(case.file).name))
        if case.silent:
            silent.append(case)
            print(number, case, flush=True)
    print(
        json.dumps(
            {
                "cases": arguments.cases,
                "seed": arguments.seed,
                "readings": dict(outcomes),
                "kinds": len(damaged),
            }
        )
    )
    raise SystemExit(1 if silent else 0)


if __name__ == "__main__":
    main()
