"""A small fabricated results folder in the pipeline's own format: random numbers, valid files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fake_explanations import fake_explanations

from pathduet.core.files import write_json, write_text, write_tsv
from pathduet.evaluation.clinical import write_clinical
from pathduet.evaluation.evaluate_table import evaluate_table
from pathduet.results import Results

CLASSES = {
    "diagnosis": ["glioblastoma", "oligodendroglioma", "astrocytoma_grade4", "astrocytoma_low_grade"],
    "grading": ["G2", "G3", "G4"],
}
NETWORKS = ("teacher", "student", "distilled")
CLINICAL = ("cox_age", "cox_age_sex", "cox_age_sex_grade")
#: How informative each fabricated network is.
SIGNAL = {"teacher": 1.6, "student": 0.8, "distilled": 1.1}


def fake_config(results: Path) -> dict[str, Any]:
    """Return a complete configuration of the fabricated run."""
    return {
        "results": str(results), "seed": 7, "protocol": "strict",
        "sheets": {"slides": "cohort/slides.tsv", "patients": "cohort/patients.tsv"},
        "cohorts": {"internal": ["alpha", "beta"], "external": ["gamma"]},
        "tasks": ["diagnosis", "grading", "survival"],
        "split": {"folds": 3, "file": None},
        "model": {"variant": "paper", "tokens": 2500},
        "evaluation": {"bootstrap": 40, "clinical_baselines": list(CLINICAL)},
        "explanations": {"malignancy_scores": ["expected_grade", "risk"]},
        "report": {"title": "A fabricated run", "gallery_slides": 8},
    }  # fmt: skip


def fake_patients(rng: np.random.Generator, n_internal: int = 72, n_external: int = 24) -> pd.DataFrame:
    """Return patients whose survival depends on age and grade."""
    n = n_internal + n_external
    grade = rng.choice(["G2", "G3", "G4"], n, p=[0.3, 0.3, 0.4])
    level = np.array([int(g[1]) for g in grade])
    age = np.clip(rng.normal(38 + 7 * (level - 2), 11), 18, 88).round()
    hazard = np.exp(0.035 * (age - 45) + 0.7 * (level - 3))
    death, contact = rng.exponential(1100 / hazard) + 5, rng.uniform(200, 3500, n)
    cohort = (
        ["alpha"] * (n_internal // 2) + ["beta"] * (n_internal - n_internal // 2) + ["gamma"] * n_external
    )
    return pd.DataFrame(
        {
            "cohort": cohort, "grade": grade, "age_years": age, "sex": rng.choice(["male", "female"], n),
            "survival_days": np.minimum(death, contact).round() + 1, "event": (death <= contact).astype(float),
            "diagnosis": np.where(level == 4, rng.choice(CLASSES["diagnosis"][::2], n),
                                  rng.choice(CLASSES["diagnosis"][1::2], n)),
        },
        index=pd.Index([f"P{i:03d}" for i in range(n)], name="patient_id"),
    )  # fmt: skip


def fake_predictions(
    slides: pd.DataFrame, patients: pd.DataFrame, task: str, model: str, fold: int, part: str,
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """Return predictions that carry some of the truth."""
    facts = patients.loc[slides["patient_id"]]
    table = slides[["slide_id", "patient_id", "cohort"]].reset_index(drop=True).assign(part=part, fold=fold)
    n, signal = len(table), SIGNAL[model]
    if task == "survival":
        time = facts["survival_days"].to_numpy()
        table["survival_days"], table["event"] = time, facts["event"].to_numpy()
        table["bin"] = np.digitize(time, [250, 600, 1200])
        logit = -1 - signal * 0.5 * np.log(time / 700) + rng.normal(0, 0.8, n)
        hazards = 1 / (1 + np.exp(-(logit[:, None] + np.array([-0.5, 0, 0.3, 0.8]))))
        table["risk"] = -np.cumprod(1 - hazards, axis=1).sum(axis=1)
        for k in range(4):
            table[f"h_{k + 1}"] = hazards[:, k]
        table["risk_10x"], table["risk_20x"] = table["risk"] - 0.01, table["risk"] + 0.01
        return table
    classes = CLASSES[task]
    label = facts["diagnosis" if task == "diagnosis" else "grade"].to_numpy()
    score = rng.normal(0, 1, (n, len(classes)))
    score[np.arange(n), [classes.index(x) for x in label]] += signal
    p = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    table["label"], table["predicted"] = label, [classes[i] for i in p.argmax(axis=1)]
    for k, name in enumerate(classes):
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


def _participation(root: Path, ledger: pd.DataFrame, patients: pd.DataFrame) -> None:
    from pathduet.cohort.ledger import read_ledger
    from pathduet.cohort.participation import participation

    labelled = {"diagnosis": patients.index, "grading": patients.index, "survival": patients.index[:-4]}
    table = participation(read_ledger(root / "ledger.tsv"), patients, patients.index[3:], labelled)
    write_tsv(root / "participation.tsv", table)


def _genes(root: Path, folds: int, rng: np.random.Generator) -> None:
    import anndata

    subspace = np.repeat(["tumor", "tme", "shared"], [60, 240, 10])
    for fold in range(folds):
        mean = rng.gamma(3, 1.2, len(subspace))
        dispersion = rng.normal(0, 1, len(subspace))
        var = pd.DataFrame(
            {"subspace": subspace, "highly_variable": dispersion > 0.6, "dispersion_norm": dispersion,
             "token_order": -1, "mean": mean, "sd": rng.gamma(2, 0.5, len(subspace))},
            index=[f"GENE{i}" for i in range(len(subspace))],
        )  # fmt: skip
        matrix = anndata.AnnData(rng.normal(size=(6, len(var))).astype(np.float32), var=var)
        matrix.uns["pathduet"] = json.dumps({"warnings": []})
        path = root / "genes" / f"fold-{fold}.h5ad"
        path.parent.mkdir(parents=True, exist_ok=True)
        matrix.write_h5ad(path)


def _networks(
    root: Path, used: pd.DataFrame, patients: pd.DataFrame, folds: pd.DataFrame, rng: np.random.Generator
) -> None:  # fmt: skip
    fold_of = folds.set_index("patient_id")["fold"]
    internal = used[used["patient_id"].isin(fold_of.index)]
    external = used[used["cohort"] == "gamma"]
    for task in (*CLASSES, "survival"):
        for model in NETWORKS:
            for fold in range(3):
                folder = root / "models" / task / model / f"fold-{fold}"
                test = internal[internal["patient_id"].map(fold_of) == fold]
                parts = [(folder, test, "test")]
                if task == "survival":
                    parts.append((root / "external" / task / model / f"fold-{fold}", external, "external"))
                for place, slides, part in parts:
                    table = fake_predictions(slides, patients, task, model, fold, part, rng)
                    write_tsv(place / "predictions.tsv", table)
                epochs = np.arange(1, 11)
                loss = 1.3 * np.exp(-epochs / 5) + 0.1 + rng.normal(0, 0.02, 10)
                write_tsv(folder / "history.tsv", pd.DataFrame({"epoch": epochs, "loss": loss, "lr": 1e-4}))
                write_text(folder / "weights.safetensors", "")
                write_json(folder / "model.json", {"variant": "paper"})


def rows_of(
    table: str, models: tuple[str, ...] = NETWORKS, clinical: tuple[str, ...] = CLINICAL
) -> list[dict[str, str]]:
    """Return the rows of a table."""
    task = "survival" if table == "external" else table
    return [{"task": task, "model": model} for model in (*models, *(clinical if task == "survival" else ()))]


def fake_results(root: Path, seed: int = 0) -> dict[str, Any]:
    """Fabricate a results folder below `root` and return its configuration."""
    rng = np.random.default_rng(seed)
    config = fake_config(root)
    settings = {"protocol": "strict", "seed": 7, "bootstrap": 40}
    patients = fake_patients(rng)
    ledger = _ledger(root, patients, rng)
    _participation(root, ledger, patients)
    _slides(root, ledger, rng)
    internal = patients[patients["cohort"] != "gamma"]
    folds = pd.DataFrame(
        {"patient_id": internal.index, "cohort": internal["cohort"].to_numpy(),
         "fold": np.arange(len(internal)) % 3, "stratum": ""}
    )  # fmt: skip
    write_tsv(root / "split" / "folds.tsv", folds)
    _genes(root, 3, rng)
    _networks(root, ledger[ledger["status"] == "ok"], patients, folds, rng)
    results = Results(root)
    write_clinical(results, patients, folds, {"survival": CLINICAL}, 3, settings, ["gamma"])
    for name in ("diagnosis", "grading", "survival", "external"):
        evaluate_table(results, name, rows_of(name), 3, settings)
    fake_explanations(root, config["tasks"], rng)
    for rule, name, seconds in (("tile", "0000", 31.2), ("tile", "0001", 28.7), ("features", "0000", 412.5),
                                ("train", "survival-teacher-fold-0", 95.1)):  # fmt: skip
        text = f"s\th:m:s\tmax_rss\n{seconds}\t0:00:31\t812.5\n"
        write_text(root / "benchmarks" / rule / f"{name}.tsv", text)
    write_text(root / "benchmarks" / "report.tsv", "s\th:m:s\tmax_rss\n5.5\t0:00:05\t300.0\n")
    write_json(
        root / "provenance.json",
        {"versions": {"python": "3.11", "pathduet": "0.1.0"}, "commit": "0123abc", "seed": 7,
         "inputs": {"cohort/slides.tsv": "ab" * 32, "cohort/patients.tsv": "cd" * 32}},
    )  # fmt: skip
    return config
