"""Small fabricated results folders in the pipeline's own format: random numbers, valid files, several designs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fake_explanations import fake_explanations

from pathduet.catalogue import catalogue_of, names
from pathduet.cohort.labels import known_labels, task_labels
from pathduet.cohort.sheets import read_patients
from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core import config as configuration
from pathduet.core.files import write_json, write_text, write_tsv
from pathduet.evaluation.evaluate_table import evaluate_table
from pathduet.evaluation.regressions import write_regressions
from pathduet.result_tables import whole_run_tables
from pathduet.results import Results

NETWORKS = names("method")
#: How informative each fabricated network is.
SIGNAL = {"teacher": 1.6, "student": 0.8, "student_longer": 0.9, "distilled": 1.1, "snn": 1.2}
GLIAL = {
    "diagnosis": {"kind": "classification", "column": "diagnosis",
                  "classes": ["glioblastoma", "oligodendroglioma", "astrocytoma_grade4", "astrocytoma_low_grade"],
                  "class_titles": {"astrocytoma_grade4": "astrocytoma, grade 4"}},
    "grading": {"kind": "classification", "column": "grade", "classes": ["G2", "G3", "G4"], "ordered": True,
                "clinical_baselines": ["age", "age_sex"]},
    "survival": {"kind": "survival", "time": "survival_days", "event": "event"},
}  # fmt: skip
BREAST = {
    "receptor": {"kind": "classification", "column": "her2", "classes": ["negative", "positive"]},
    "stage": {"kind": "classification", "column": "stage", "classes": ["I", "II", "III", "IV"], "ordered": True,
              "external": False},
    "ki67": {"kind": "regression", "column": "ki67_percent"},
    "os": {"kind": "survival", "time": "os_months", "event": "os_status", "unit": "months"},
    "pfi": {"kind": "survival", "time": "pfi_days", "event": {"column": "pfi_censorship", "observed": 0},
            "external": False},
}  # fmt: skip
#: What a run is about, beside what all of them share.
DESIGNS: dict[str, dict[str, Any]] = {
    "glial": {
        "tasks": GLIAL,
        "covariates": {"age_years": {"kind": "numeric", "title": "age"}, "sex": "categorical", "grade": "ordered"},
        "evaluation": {"clinical_baselines": {"age": ["age_years"], "age_sex": ["age_years", "sex"],
                                              "age_sex_grade": ["age_years", "sex", "grade"]},
                       "gain_over": "age_sex"},
    },
    "breast": {
        "tasks": BREAST,
        "covariates": {"age_years": "numeric", "stage": "ordered"},
        "subspaces": {"tumor": "shipped", "immune": "immune.txt", "stroma": "stroma.txt"},
    },
    "fifteen_models": {
        "tasks": {"receptor": BREAST["receptor"]}, "cohorts": {"external": []},
        "comparison": {"models": ["abmil", "transmil", "snn", "mcat", "cmta", "survpath", "mmp", "sml", "lm", "concat", "add"]},
    },
    "slides_only": {"tasks": {"receptor": BREAST["receptor"]}, "expression": {"tables": []},
                    "cohorts": {"external": []}},
    "expression_only": {
        "tasks": {name: BREAST[name] for name in ("ki67", "os")}, "sheets": {"slides": None}, "cohorts": {"external": []},
        "comparison": {"models": ["snn"]}, "covariates": {"age_years": "numeric"},
    },
}  # fmt: skip
_LEFT_OUT = {
    "slides_only": {"teacher": "no expression", "distilled": "no expression"},
    "expression_only": dict.fromkeys(NETWORKS, "no slides"),
}


def fake_config(results: Path, design: str = "glial") -> dict[str, Any]:
    """Return the complete configuration of a fabricated run; its sheets lie beside the results."""
    cohort = results.parent / "cohort"
    table = {"cohort": "alpha", "path": "alpha.tsv.gz", "unit": "tpm", "samples": None}
    shared = {
        "results": str(results), "seed": 7,
        "sheets": {"slides": str(cohort / "slides.tsv"), "patients": str(cohort / "patients.tsv")},
        "cohorts": {"internal": ["alpha", "beta"], "external": ["gamma"]},
        "expression": {"tables": [table]},
        "comparison": {"models": []},
        "evaluation": {"bootstrap": 40},
        "report": {"title": "A fabricated run", "gallery_slides": 8},
    }  # fmt: skip
    return configuration.resolve(configuration.merge(shared, DESIGNS[design]))


def fake_patients(rng: np.random.Generator, n_internal: int = 72, n_external: int = 24) -> pd.DataFrame:
    """Return patients whose survival depends on age and grade, with the columns of every design."""
    n = n_internal + n_external
    grade = rng.choice(["G2", "G3", "G4"], n, p=[0.3, 0.3, 0.4])
    level = np.array([int(g[1]) for g in grade])
    age = np.clip(rng.normal(38 + 7 * (level - 2), 11), 18, 88).round()
    hazard = np.exp(0.035 * (age - 45) + 0.7 * (level - 3))
    death, contact = rng.exponential(1100 / hazard) + 5, rng.uniform(200, 3500, n)
    days, event = np.minimum(death, contact).round() + 1, (death <= contact).astype(int)
    cohort = (
        ["alpha"] * (n_internal // 2) + ["beta"] * (n_internal - n_internal // 2) + ["gamma"] * n_external
    )
    classes = list(GLIAL["diagnosis"]["classes"])
    return pd.DataFrame(
        {
            "cohort": cohort, "grade": grade, "age_years": age, "sex": rng.choice(["male", "female"], n),
            "survival_days": days, "event": event,
            "diagnosis": np.where(level == 4, rng.choice(classes[::2], n), rng.choice(classes[1::2], n)),
            "her2": np.where(rng.random(n) < 0.15 * level, "positive", "negative"),
            "stage": np.array(["I", "II", "III", "IV"])[np.clip(level - 2 + rng.integers(0, 2, n), 0, 3)],
            "ki67_percent": np.clip(8 * level + rng.normal(0, 6, n), 0, 95).round(1),
            "os_months": (days / 30.4375).round(2), "os_status": event,
            "pfi_days": (days * rng.uniform(0.4, 1, n)).round() + 1, "pfi_censorship": 1 - np.maximum(event, rng.integers(0, 2, n)),
        },
        index=pd.Index([f"P{i:03d}" for i in range(n)], name="patient_id"),
    )  # fmt: skip


def fake_predictions(
    rows: pd.DataFrame, truth: pd.DataFrame, task: Task, model: str, fold: int, part: str,
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """Return predictions that carry some of the truth.

    Parameters
    ----------
    rows : DataFrame
        slide_id, patient_id, cohort; patients without a label are left out.
    truth : DataFrame
        Labels of the labelled patients.
    """
    rows = rows[rows["patient_id"].isin(truth.index)]
    facts = truth.loc[rows["patient_id"]]
    table = rows[["slide_id", "patient_id", "cohort"]].reset_index(drop=True).assign(part=part, fold=fold)
    n, signal = len(table), SIGNAL.get(model, 0.7)
    if task.kind == "survival":
        time = facts["survival_days"].to_numpy(dtype=float)
        table["survival_days"], table["event"] = time, facts["event"].to_numpy()
        table["bin"] = np.digitize(time, [250, 600, 1200])
        logit = -1 - signal * 0.5 * np.log(time / 700) + rng.normal(0, 0.8, n)
        hazards = 1 / (1 + np.exp(-(logit[:, None] + np.array([-0.5, 0, 0.3, 0.8]))))
        table["risk"] = -np.cumprod(1 - hazards, axis=1).sum(axis=1)
        for k in range(4):
            table[f"h_{k + 1}"] = hazards[:, k]
        table["risk_10x"], table["risk_20x"] = table["risk"] - 0.01, table["risk"] + 0.01
        return table
    if task.kind == "regression":
        value = facts["value"].to_numpy(dtype=float)
        table["value"] = value
        table["prediction"] = value.mean() + 0.4 * signal * (value - value.mean()) + rng.normal(0, 4, n)
        table["prediction_10x"], table["prediction_20x"] = table["prediction"] - 1, table["prediction"] + 1
        return table
    label = facts["label"].to_numpy()
    score = rng.normal(0, 1, (n, len(task.classes)))
    score[np.arange(n), [task.classes.index(x) for x in label]] += signal
    p = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    table["label"], table["predicted"] = label, [task.classes[i] for i in p.argmax(axis=1)]
    for k, name in enumerate(task.classes):
        table[f"p_{name}"] = p[:, k]
        table[f"p10_{name}"], table[f"p20_{name}"] = p[:, k], p[:, k]
    table["expert"] = "20x"
    return table


def fake_tissue(rng: np.random.Generator, side: int = 180) -> np.ndarray:
    """Return a stained-looking blob on white, (side, side, 3) uint8."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    tissue = x**2 * rng.uniform(0.8, 2) + y**2 < 0.16 + 0.02 * np.sin(
        8 * np.arctan2(y, x) + rng.uniform(0, 6)
    )
    noise = rng.normal(0, 14, (side, side, 1))
    colour = np.array([200, 130, 180]) + rng.normal(0, 12, 3)
    return np.where(tissue[..., None], np.clip(colour + noise, 0, 255), 247).astype(np.uint8)


def _slides(root: Path, slides: pd.DataFrame, rng: np.random.Generator) -> None:
    from PIL import Image

    for row in slides.to_dict("records"):
        folder = root / "slides" / row["slide_id"]
        folder.mkdir(parents=True, exist_ok=True)
        picture = fake_tissue(rng)
        Image.fromarray(picture).save(folder / "thumbnail.png")
        if row["status"] != "ok":
            continue
        marked = picture.copy()
        marked[::20] = marked[:, ::20] = (20, 110, 180)
        Image.fromarray(marked).save(folder / "mask.png")
        Image.fromarray(np.hstack([picture[:96], 255 - (255 - picture[:96]) // 2])).save(folder / "stain.png")
        shift = rng.normal(0, 0.04, (2, 3))
        matrix = np.abs(np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]) + shift)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        target = [[0.50, 0.76, 0.41], [0.28, 0.81, 0.51]]
        stain = {
            "slide_id": row["slide_id"],
            "source": {"matrix": matrix.tolist()},
            "target": {"matrix": target},
        }
        write_json(folder / "stain.json", stain)


def _ledger(root: Path, patients: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for i, (patient, fact) in enumerate(patients.iterrows()):
        for j in range(2 if i % 3 == 0 else 1):
            tiles = int(rng.integers(60, 900))
            rows.append({
                "slide_id": f"{patient}-S{j + 1}", "patient_id": patient, "cohort": fact["cohort"], "status": "ok",
                "stage": "features", "reason": "", "message": "", "mpp": "0.5", "mpp_source": "file:aperio.MPP",
                "n_10x": tiles, "n_20x": tiles * 4, "notes": "",
            })  # fmt: skip
    for i, (reason, message) in enumerate(
        [("no_mpp", "no pixel size; give mpp in slides.tsv"), ("unreadable", "the file ends early"),
         ("no_tissue", "0.1 % tissue on the thumbnail")]
    ):  # fmt: skip
        rows[5 * i + 4] |= {
            "status": "failed",
            "stage": "tile",
            "reason": reason,
            "message": message,
            "n_10x": "",
            "n_20x": "",
        }
    rows[-1] |= {"status": "excluded", "stage": "", "reason": "excluded", "message": "blurred", "n_10x": "",
                 "n_20x": ""}  # fmt: skip
    ledger = pd.DataFrame(rows)
    write_tsv(root / "ledger.tsv", ledger)
    return ledger


def _participation(root: Path, ledger: pd.DataFrame, patients: pd.DataFrame, config: dict[str, Any]) -> None:
    from pathduet.cohort.participation import participation

    labelled = {
        name: known_labels(task_labels(patients, task)).index for name, task in tasks_of(config).items()
    }
    expressed = patients.index[3:] if config["expression"]["tables"] else []
    write_tsv(root / "participation.tsv", participation(ledger, patients, expressed, labelled))


def _genes(root: Path, folds: int, subspaces: list[str], rng: np.random.Generator) -> None:
    import anndata

    groups = [*subspaces, *(["shared"] if len(subspaces) > 1 else [])]
    subspace = np.repeat(groups, [60, 240, *[40] * (len(groups) - 3), 10][: len(groups)])
    for fold in range(folds):
        mean = rng.gamma(3, 1.2, len(subspace))
        dispersion = rng.normal(0, 1, len(subspace))
        var = pd.DataFrame(
            {"subspace": subspace, "highly_variable": dispersion > 0.6, "dispersion_norm": dispersion,
             "mean": mean, "sd": rng.gamma(2, 0.5, len(subspace))},
            index=[f"GENE{i}" for i in range(len(subspace))],
        )  # fmt: skip
        matrix = anndata.AnnData(rng.normal(size=(6, len(var))).astype(np.float32), var=var)
        matrix.uns["pathduet"] = json.dumps({"warnings": []})
        path = root / "genes" / f"fold-{fold}.h5ad"
        path.parent.mkdir(parents=True, exist_ok=True)
        matrix.write_h5ad(path)


def _networks(
    results: Results, rows: pd.DataFrame, patients: pd.DataFrame, folds: pd.DataFrame, config: dict[str, Any],
    networks: Sequence[str], rng: np.random.Generator,
) -> None:  # fmt: skip
    fold_of = folds.set_index("patient_id")["fold"]
    internal = rows[rows["patient_id"].isin(fold_of.index)]
    external = rows[rows["cohort"].isin(config["cohorts"]["external"])]
    for name, task in tasks_of(config).items():
        truth = known_labels(task_labels(patients, task))
        for model in networks:
            for fold in range(3):
                folder = results.model(name, model, fold)
                test = internal[internal["patient_id"].map(fold_of) == fold]
                parts = [(folder, test, "test")]
                if len(external):
                    parts.append((results.external(name, model, fold), external, "external"))
                for place, some, part in parts:
                    table = fake_predictions(some, truth, task, model, fold, part, rng)
                    write_tsv(place / "predictions.tsv", table)
                epochs = np.arange(1, 11)
                loss = 1.3 * np.exp(-epochs / 5) + 0.1 + rng.normal(0, 0.02, 10)
                write_tsv(folder / "history.tsv", pd.DataFrame({"epoch": epochs, "loss": loss, "lr": 1e-4}))
                write_text(folder / "weights.safetensors", "")
                write_json(folder / "model.json", {"variant": "paper"})


def table_settings(config: dict[str, Any], left_out: list[str]) -> dict[str, Any]:
    """Return the settings of a run's tables."""
    return {
        "protocol": "strict", "seed": 7, "seeds": 1, "bootstrap": config["evaluation"]["bootstrap"],
        "gain_over": config["evaluation"]["gain_over"], "published": None, "left_out": left_out,
        "tasks": {name: task.to_plain() for name, task in tasks_of(config).items()},
        "catalogue": {key: config[key] for key in ("comparison", "evaluation", "covariates")},
    }  # fmt: skip


def evaluate(
    results: Results,
    config: dict[str, Any],
    networks: Sequence[str],
    names: Sequence[str] | None = None,
    left_out: tuple[str, ...] = (),
) -> None:
    """Evaluate the tables of some names, or all."""
    settings = table_settings(config, list(left_out))
    for name, table in whole_run_tables(config).items():
        if names is None or name in names:
            rows = [
                {"task": table.task, "model": model} for model in [*networks, *fitted(config, table.task)]
            ]
            evaluate_table(results, table, rows, 3, settings)


def fitted(config: dict[str, Any], task: str) -> list[str]:
    """Return the clinical models of a task."""
    models = catalogue_of(config).values()
    return [model.name for model in models if model.kind == "clinical" and model.fits(tasks_of(config)[task])]


def fake_results(root: Path, design: str = "glial", seed: int = 0) -> dict[str, Any]:
    """Fabricate a results folder below `root` and return its configuration."""
    rng = np.random.default_rng(seed)
    config = fake_config(root, design)
    results, external = Results(root), config["cohorts"]["external"]
    sheet = fake_patients(rng)
    sheet.loc[sheet.index[-4:], ["survival_days", "os_months", "pfi_days", "ki67_percent"]] = np.nan
    if not external:
        sheet = sheet[sheet["cohort"] != "gamma"]
    write_tsv(Path(config["sheets"]["patients"]), sheet.reset_index())
    patients = read_patients(config["sheets"]["patients"])
    ledger = _ledger(root, patients, rng)
    used = ledger[ledger["status"] == "ok"]
    if config["sheets"]["slides"] is None:
        used = patients.reset_index()[["patient_id", "cohort"]].assign(slide_id="")
        ledger = ledger.iloc[:0]
        write_tsv(root / "ledger.tsv", ledger)
    else:
        _slides(root, ledger, rng)
    _participation(root, ledger, patients, config)
    left_out = _LEFT_OUT.get(design, {})
    write_tsv(results.left_out, pd.DataFrame(list(left_out.items()), columns=["model", "reason"]))
    networks = [name for name in (*NETWORKS, *config["comparison"]["models"]) if name not in left_out]
    internal = patients[~patients["cohort"].isin(external)]
    folds = pd.DataFrame(
        {"patient_id": internal.index, "cohort": internal["cohort"].to_numpy(),
         "fold": np.arange(len(internal)) % 3, "stratum": ""}
    )  # fmt: skip
    write_tsv(results.folds, folds)
    if config["expression"]["tables"]:
        _genes(root, 3, list(config["subspaces"]), rng)
    _networks(results, used, patients, folds, config, networks, rng)
    clinical = {name: fitted(config, name) for name in config["tasks"]}
    write_regressions(results, patients, folds, clinical, 3, table_settings(config, []), external)
    evaluate(results, config, networks, left_out=tuple(left_out))
    fake_explanations(root, config, networks, rng)
    for rule, name, seconds in (("tile", "0000", 31.2), ("tile", "0001", 28.7), ("features", "0000", 412.5),
                                ("train", "survival-teacher-fold-0", 95.1)):  # fmt: skip
        text = f"s\th:m:s\tmax_rss\n{seconds}\t0:00:31\t812.5\n"
        write_text(root / "benchmarks" / rule / f"{name}.tsv", text)
    write_text(root / "benchmarks" / "report.tsv", "s\th:m:s\tmax_rss\n5.5\t0:00:05\t300.0\n")
    write_json(
        root / "provenance.json",
        {"versions": {"python": "3.11", "pathduet": "0.1.0"}, "commit": "0123abc", "seed": 7, "config": config,
         "inputs": {"cohort/slides.tsv": "ab" * 32, "cohort/patients.tsv": "cd" * 32}},
    )  # fmt: skip
    return config
