"""A run's trained models as one folder that holds everything a new slide's prediction needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pathduet import __version__
from pathduet.cohort.folds import read_folds
from pathduet.core.errors import InputError, Problem
from pathduet.core.files import atomic_path, write_json, write_text
from pathduet.core.progress import track
from pathduet.expression.gene_scaling import GeneScaling
from pathduet.release import model_card
from pathduet.release.contents import MANIFEST, SUMS, write_manifest
from pathduet.release.load import LOCAL_SETTINGS
from pathduet.release.reference import Reference, slide_facts
from pathduet.release.risk_reference import observed_groups, training_risks
from pathduet.slides.settings import SlideSettings
from pathduet.training.fold_jobs import usable_slides
from pathduet.training.model_folder import DESCRIPTION, WEIGHTS
from pathduet.training.networks import NetworkChoice

#: Configuration keys that say how fast a slide is worked on, not what comes out.
_MACHINE = {
    "slides": ("slides_per_job", "lost_slides_exit_status", "time_limit_s", "memory_limit_mib"),
    "stain": (),
    "encoder": LOCAL_SETTINGS,
}
_ARTIFACTS = "export needs a finished run: snakemake --cores N"


def export_release(
    results: Path, model: str, out: Path, threads: int = 1, *, replace_all: bool = False
) -> None:
    """Write the release of a model: its folds' weights, and what predicting and judging a new slide needs.

    A model of slides alone is released with the run's teacher beside it, which speaks where a slide's expression
    is given. The same run gives the same bytes. An older release in `out` is replaced, anything else there is refused.

    Parameters
    ----------
    results : Path
        A finished run's folder.
    model : str
        ``distilled``, ``student``, ``teacher``, or any other trained model's name.
    out : Path
        The release's folder.
    threads : int
        For predicting the training patients.
    replace_all : bool
        The folder is the caller's own: whatever is in it goes.

    Raises
    ------
    InputError
        If the run lacks something, or `out` holds anything but a release.
    """
    provenance = _provenance(results)
    config = provenance["config"]
    folds = list(range(int(config["split"]["folds"])))
    records = {task: _records(results, task, model, folds) for task in config["tasks"]}
    if not any(records.values()):
        found = f"no trained model {model!r}"
        raise InputError([Problem(f"{results}/models", found, "give --model a name of a folder there")])
    predictors = _predictors(results, model, records, config["tasks"], folds)
    if replace_all:
        shutil.rmtree(out, ignore_errors=True)
    _clear(out)
    for task, models in predictors.items():
        for name in models.values():
            for fold in folds:
                _copy_model(results, out, task, name, fold)
    tasks = list(predictors)
    encoder = _encoder_facts(predictors, results, folds)
    settings = _settings(config, encoder)
    _copy_stain_target(config, settings, out)
    write_json(out / "settings.json", settings)
    for fold in folds:
        scaling = GeneScaling.from_matrix(results / "genes" / f"fold-{fold}.h5ad")
        write_json(out / "genes" / f"fold-{fold}.json", scaling.to_plain())
    _write_reference(results, out)
    if "survival" in tasks:
        _write_risks(results, out, sorted(set(predictors["survival"].values())), folds, threads)
    chosen = {kind: name for models in predictors.values() for kind, name in models.items()}
    card = model_card.make_card(
        results, provenance, model, tasks, chosen, _training(results, predictors, folds), encoder
    )
    write_json(out / "model_card.json", card)
    write_text(out / "MODEL_CARD.md", model_card.markdown(card))
    write_manifest(
        out,
        {
            "name": model, "package_version": __version__, "notice": model_card.NOTICE,
            "simulated_cohort": card["simulated_cohort"], "tasks": predictors, "folds": folds,
        },
    )  # fmt: skip


def _provenance(results: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((results / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError([Problem(f"{results}/provenance.json", str(error), _ARTIFACTS)]) from None
    return found


def _records(results: Path, task: str, model: str, folds: Sequence[int]) -> list[dict[str, Any]]:
    """Return the folds' model.json of a trained model; [] if there is none, an error if folds lack."""
    folders = [results / "models" / task / model / f"fold-{fold}" for fold in folds]
    there = [
        folder for folder in folders if (folder / WEIGHTS).is_file() and (folder / DESCRIPTION).is_file()
    ]
    if there and len(there) < len(folders):
        missing = ", ".join(str(f) for f in folders if f not in there)
        raise InputError([Problem(missing, "no trained model", _ARTIFACTS)])
    return [json.loads((folder / DESCRIPTION).read_text(encoding="utf-8")) for folder in there]


def _predictors(
    results: Path,
    model: str,
    records: Mapping[str, list[dict[str, Any]]],
    tasks: Sequence[str],
    folds: Sequence[int],
) -> dict[str, dict[str, str]]:
    """Return by task which model predicts from ``slides`` and which with ``expression``."""
    found: dict[str, dict[str, str]] = {}
    for task in tasks:
        if not records[task]:
            continue
        for fold, record in zip(folds, records[task], strict=True):
            _check_exportable(results, task, fold, record)
        if NetworkChoice.from_record(records[task][0]).needs_expression:
            found[task] = {"expression": model}
            continue
        found[task] = {"slides": model}
        if _records(results, task, "teacher", folds):
            found[task]["expression"] = "teacher"
    return found


def _check_exportable(results: Path, task: str, fold: int, record: Mapping[str, Any]) -> None:
    """Refuse what a release cannot hold: failed trainings, a user's own code, other genes than the fold's."""
    where = f"{results}/models/{task}/{record['model']}/fold-{fold}"
    if "failed" in record:
        raise InputError([Problem(where, f"its training failed: {record['failed']}", "mend the cause first")])
    if record.get("own_network"):
        found = "a network from a user's own file: a release holds no code"
        raise InputError([Problem(where, found, "hand on the file and the run instead")])
    scaling = GeneScaling.from_matrix(results / "genes" / f"fold-{fold}.h5ad")
    genes = (record["tumor_genes"], record["tme_genes"])
    if any(genes) and genes != (list(scaling.genes["tumor"]), list(scaling.genes["tme"])):
        found = "trained on another gene selection than the run's first"
        raise InputError([Problem(where, found, "export a model of the first selection")])


def _clear(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file())):
        raise InputError(
            [Problem(str(out), "holds something that is no release", "give an empty or new folder")]
        )
    if out.is_dir():
        # the manifest first: a release that is cut short here is none
        for name in (MANIFEST, SUMS):
            (out / name).unlink(missing_ok=True)
        for name in ("models", "genes", "reference", "survival"):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("settings.json", "model_card.json", "MODEL_CARD.md"):
            (out / name).unlink(missing_ok=True)
        for target in out.glob("stain_target.*"):
            target.unlink()
    out.mkdir(parents=True, exist_ok=True)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _copy_model(results: Path, out: Path, task: str, model: str, fold: int) -> None:
    part = Path("models") / task / model / f"fold-{fold}"
    for name in (WEIGHTS, DESCRIPTION):
        _copy(results / part / name, out / part / name)


def _encoder_facts(
    predictors: Mapping[str, Mapping[str, str]], results: Path, folds: Sequence[int]
) -> dict[str, Any]:
    """Return the encoder that every released model was trained on; different ones are an error."""
    seen: dict[str, Any] = {}
    for task, models in predictors.items():
        for name in models.values():
            for fold in folds:
                path = results / "models" / task / name / f"fold-{fold}" / DESCRIPTION
                facts = json.loads(path.read_text(encoding="utf-8"))["encoder"]
                if seen and facts != seen:
                    raise InputError(
                        [Problem(str(path), "trained on another encoder's features", _ARTIFACTS)]
                    )
                seen = facts
    return seen


def _settings(config: Mapping[str, Any], encoder: Mapping[str, Any]) -> dict[str, Any]:
    sections = {
        name: {key: value for key, value in config[name].items() if key not in left_out}
        for name, left_out in _MACHINE.items()
    }
    settings: dict[str, Any] = {**sections, "seed": config["seed"], "encoder_facts": dict(encoder)}
    if config["stain"]["backend"] != "none":
        from pathduet.slides.stain.stain_matrix import target_stains

        target = target_stains(SlideSettings.from_mapping(config).stain)
        settings["stain_target"] = {
            "matrix": target.matrix.tolist(), "max_concentrations": target.max_concentrations.tolist(),
        }  # fmt: skip
    return settings


def _copy_stain_target(config: Mapping[str, Any], settings: dict[str, Any], out: Path) -> None:
    """Take the user's own target image along, so that new slides are mapped to the same colours."""
    target = config["stain"]["target"]
    if target == "shipped" or config["stain"]["backend"] == "none":
        settings["stain"]["target"] = "shipped"
        return
    name = f"stain_target{Path(target).suffix.lower()}"
    _copy(Path(target), out / name)
    settings["stain"]["target"] = name


def _write_reference(results: Path, out: Path) -> None:
    """Measure every internal slide that has features."""
    slides, folds = usable_slides(results), read_folds(results / "split" / "folds.tsv")
    test_fold = {str(p): int(f) for p, f in zip(folds["patient_id"], folds["fold"], strict=True)}
    rows = [row for row in slides.to_dict("records") if row["patient_id"] in test_fold]
    if not rows:
        raise InputError([Problem(f"{results}/ledger.tsv", "no training slide", _ARTIFACTS)])
    measured = []
    for row in track(rows, len(rows), "training slides", "slides"):
        features = Path(row["features"])
        facts = slide_facts(features, features.with_name("stain.json"))
        measured.append((facts, row["patient_id"], test_fold[row["patient_id"]]))
    Reference.of(measured).save(out / "reference")


def _write_risks(results: Path, out: Path, models: Sequence[str], folds: Sequence[int], threads: int) -> None:
    slides, table = usable_slides(results), read_folds(results / "split" / "folds.tsv")
    for name in models:
        folders = [results / "models" / "survival" / name / f"fold-{fold}" for fold in folds]
        risks = [
            training_risks(folder, slides, table, results / "genes" / f"fold-{fold}.h5ad", threads)
            for fold, folder in zip(folds, folders, strict=True)
        ]
        write_json(
            out / "survival" / f"{name}.json",
            {
                "training_risks": {str(f): r for f, r in zip(folds, risks)},
                "observed_groups": observed_groups(folders),
            },
        )


def _training(
    results: Path, predictors: Mapping[str, Mapping[str, str]], folds: Sequence[int]
) -> dict[str, Any]:
    return {
        task: {
            name: {
                str(fold): record["training_part"]
                for fold, record in zip(folds, _records(results, task, name, folds), strict=True)
            }
            for name in sorted(set(models.values()))
        }
        for task, models in predictors.items()
    }
