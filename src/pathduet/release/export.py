"""A run's trained models as one folder with everything needed to predict new slides."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pathduet import __version__
from pathduet.catalogue import CATALOGUE
from pathduet.cohort.folds import read_folds
from pathduet.cohort.tasks import tasks_of
from pathduet.core.checksums import checked
from pathduet.core.errors import InputError, Problems
from pathduet.core.files import atomic_path, sha256_file, write_json, write_text
from pathduet.core.progress import track
from pathduet.core.provenance import read_run_record
from pathduet.expression.gene_scaling import GeneScaling
from pathduet.features.check import verify_features
from pathduet.release import model_card
from pathduet.release.contents import MANIFEST, SUMS, write_manifest
from pathduet.release.load import LOCAL_SETTINGS
from pathduet.release.reference import Reference, slide_profile
from pathduet.release.risk_reference import observed_groups, training_risks
from pathduet.results import DESCRIPTION, WEIGHTS, Results
from pathduet.slides.settings import SlideSettings
from pathduet.slides.stain.stain_matrix import target_stains
from pathduet.training.fold_jobs import usable_slides

#: Configuration keys that affect the speed of processing, not the results.
_MACHINE = {
    "slides": ("slides_per_job", "lost_slides_exit_status", "time_limit_s", "memory_limit_mib"),
    "stain": (),
    "encoder": LOCAL_SETTINGS,
}
_ARTIFACTS = "export needs a finished run: snakemake --cores N"

#: The folds' model.json, by task and model.
Records = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]


def export_release(results: Path, model: str, out: Path, *, replace_all: bool = False) -> None:
    """Write the release of a model: its folds' weights, and everything needed to predict and judge slides.

    A model that reads only slides is released with the run's teacher, which predicts slides with
    expression. The same run gives the same bytes. An older release in `out` is replaced; other contents are refused.

    Parameters
    ----------
    results : Path
        A finished run's folder.
    model : str
        ``distilled``, ``student``, ``teacher``, or any other trained model's name.
    out : Path
        The release's folder.
    replace_all : bool
        The caller owns the folder: any contents are removed.

    Raises
    ------
    InputError
        If the run lacks something, or `out` contains anything but a release.
    """
    run = Results(results)
    provenance = read_run_record(run.provenance)
    config = provenance["config"]
    folds, tasks = list(range(int(config["split"]["folds"]))), tasks_of(config)
    expressed = folds if config["expression"]["tables"] else []
    scalings = {fold: GeneScaling.from_matrix(run.genes(fold)) for fold in expressed}
    predictors, records = _predictors(run, model, list(tasks), folds, scalings)
    encoder = _encoder(records)
    if replace_all:
        shutil.rmtree(out, ignore_errors=True)
    with _emptied(out):
        for task, name in records:
            for fold in folds:
                source, target = run.model(task, name, fold), Results(out).model(task, name, fold)
                for file in (WEIGHTS, DESCRIPTION):
                    _copy(checked(source / file), target / file)
        write_json(out / "settings.json", _settings(provenance, encoder, out))
        for fold, scaling in scalings.items():
            write_json(out / "genes" / f"fold-{fold}.json", scaling.to_plain())
        _write_reference(run, out / "reference")
        for task, name in sorted(pair for pair in records if tasks[pair[0]].kind == "survival"):
            folders = [run.model(task, name, fold) for fold in folds]
            risks = {str(fold): training_risks(folder) for fold, folder in zip(folds, folders)}
            numbers = {"training_risks": risks, "observed_groups": observed_groups(folders)}
            write_json(out / "survival" / task / f"{name}.json", numbers)
        card = model_card.make_card(run, provenance, model, predictors, _training(records), encoder)
        write_json(out / "model_card.json", card)
        write_text(out / "MODEL_CARD.md", model_card.markdown(card))
        write_manifest(
            out,
            {
                "name": model, "package_version": __version__, "notice": model_card.NOTICE,
                "simulated_cohort": card["simulated_cohort"], "tasks": predictors, "folds": folds,
                "task_settings": {name: tasks[name].to_plain() for name in predictors},
            },
        )  # fmt: skip


def _predictors(
    run: Results,
    model: str,
    tasks: Sequence[str],
    folds: Sequence[int],
    scalings: Mapping[int, GeneScaling],
) -> tuple[dict[str, dict[str, str]], Records]:
    """Return by task the models that predict from ``slides`` and with ``expression``, and these models' records."""
    teacher = next(name for name, entry in CATALOGUE.items() if entry.role == "teacher")
    predictors: dict[str, dict[str, str]] = {}
    records: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for task in tasks:
        own = _records(run, task, model, folds, scalings)
        if not own:
            continue
        records[task, model] = own
        if "expression" in own[0]["predicts_from"]:
            predictors[task] = {"expression": model}
            continue
        predictors[task] = {"slides": model}
        if beside := _records(run, task, teacher, folds, scalings):
            predictors[task]["expression"] = teacher
            records[task, teacher] = beside
    if not predictors:
        advice = "give --model a name of a folder there"
        raise InputError.of(f"{run.root}/models", f"no trained model {model!r}", advice)
    return predictors, records


def _records(
    run: Results, task: str, model: str, folds: Sequence[int], scalings: Mapping[int, GeneScaling]
) -> list[dict[str, Any]]:
    """Return the folds' model.json of a trained model; [] if there is none; raise if a release cannot include it."""
    folders = [run.model(task, model, fold) for fold in folds]
    missing = [f for f in folders if not all(checked(f / name).is_file() for name in (WEIGHTS, DESCRIPTION))]
    if len(missing) == len(folders):
        return []
    problems = Problems()
    for folder in missing:
        problems.add(str(folder), "no trained model", _ARTIFACTS)
    problems.check()
    records = [json.loads(checked(folder / DESCRIPTION).read_text(encoding="utf-8")) for folder in folders]
    for folder, record, fold in zip(folders, records, folds):
        if "failed" in record:
            problems.add(str(folder), f"its training failed: {record['failed']}", "fix the cause first")
        elif record.get("own_network"):
            found = "a network from a user's own file: a release contains no code"
            problems.add(str(folder), found, "pass on the file and the run instead")
        elif any(record["genes"].values()) and not scalings[fold].fits(record["genes"]):
            found = "trained on another gene selection than the run's first"
            problems.add(str(folder), found, "export a model of the first selection")
    problems.check()
    return records


def _encoder(records: Records) -> dict[str, Any]:
    """Return the encoder of every released model; different encoders are an error."""
    found = [dict(record["encoder"]) for one in records.values() for record in one]
    if any(encoder != found[0] for encoder in found):
        raise InputError.of("models", "trained on the features of several encoders", _ARTIFACTS)
    return found[0]


@contextmanager
def _emptied(out: Path) -> Iterator[None]:
    """Empty the folder of an older release before the new one is written, and again if that fails."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file())):
        raise InputError.of(str(out), "holds files that are not a release", "give an empty or new folder")
    out.mkdir(parents=True, exist_ok=True)
    _clear(out)
    try:
        yield
    except BaseException:
        _clear(out)
        raise


def _clear(out: Path) -> None:
    # the manifest first: without it, an interrupted release does not count as one
    for name in (MANIFEST, SUMS, "settings.json", "model_card.json", "MODEL_CARD.md"):
        (out / name).unlink(missing_ok=True)
    for name in ("models", "genes", "reference", "survival"):
        shutil.rmtree(out / name, ignore_errors=True)
    for target in out.glob("stain_target.*"):
        target.unlink()


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _settings(provenance: Mapping[str, Any], encoder: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Return how slides were tiled, normalised and encoded; copy the user's own target image."""
    config = provenance["config"]
    settings: dict[str, Any] = {
        name: {key: value for key, value in config[name].items() if key not in left_out}
        for name, left_out in _MACHINE.items()
    }
    settings |= {"seed": config["seed"], "encoder_facts": dict(encoder)}
    image = config["stain"]["target"]
    settings["stain"]["target"] = "shipped"
    if config["stain"]["backend"] == "none":
        return settings
    known = provenance["inputs"].values()
    if image != "shipped" and not (Path(image).is_file() and sha256_file(image) in known):
        found = "is not the image that the run used"
        raise InputError.of(f"stain.target {image}", found, "restore that image")
    target = target_stains(SlideSettings.from_mapping(config).stain)
    settings["stain_target"] = {
        "matrix": target.matrix.tolist(), "max_concentrations": target.max_concentrations.tolist(),
    }  # fmt: skip
    if image != "shipped":
        settings["stain"]["target"] = f"stain_target{Path(image).suffix.lower()}"
        _copy(Path(image), out / settings["stain"]["target"])
    return settings


def _write_reference(run: Results, folder: Path) -> None:
    """Profile every internal slide that has features."""
    slides, folds = usable_slides(run.root), read_folds(run.folds)
    test_fold = {str(p): int(f) for p, f in zip(folds["patient_id"], folds["fold"], strict=True)}
    rows = [row for row in slides.to_dict("records") if row["patient_id"] in test_fold]
    if not rows:
        raise InputError.of(str(run.ledger), "no training slide", _ARTIFACTS)
    verify_features(run, [str(row["slide_id"]) for row in rows])
    measured = []
    for row in track(rows, len(rows), "training slides", "slides"):
        profile = slide_profile(run.slide(str(row["slide_id"])))
        measured.append((profile, row["patient_id"], test_fold[row["patient_id"]]))
    Reference.of(measured).save(folder)


def _training(records: Records) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the training part by task, model and fold, from the models' own records."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (task, model), folds in sorted(records.items(), key=lambda item: item[0][1]):
        found.setdefault(task, {})[model] = {str(r["fold"]): r["training_part"] for r in folds}
    return {task: found[task] for task, _ in records}
