"""Compare a finished demo run with the phantom's known truth.

    python benchmarks/phantom_truth.py --results results --cohort demo [--check]

Prints the survival C-index of each model with its margin over chance and over a Cox model on age alone, the margin to the
true hazard's own C-index, and the angle between recovered and true stain vectors. ``--check`` exits with 1
if a bound stated below is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from lifelines.utils import concordance_index

#: Minimum results of a run of the shipped configuration.
TEACHER_OVER_CHANCE = 0.15
TEACHER_OVER_AGE = 0.05
STAIN_MEDIAN_DEGREES = 6.0
STAIN_WORST_DEGREES = 12.0


def survival_margins(results: Path, cohort: Path) -> dict[str, float]:
    """Return mean C-index over folds by model, and that of the true log hazard on the same patients."""
    table = pd.read_csv(results / "tables/survival.tsv", sep="\t")
    scores = table[table["metric"] == "c_index"].set_index("model")["mean"].to_dict()
    folds = pd.read_csv(results / "split/folds.tsv", sep="\t").set_index("patient_id")["fold"]
    patients = pd.read_csv(cohort / "patients.tsv", sep="\t").set_index("patient_id")
    truth = pd.read_csv(cohort / "truth/patients.tsv", sep="\t").set_index("patient_id")
    by_fold = []
    for fold in sorted(set(folds)):
        ids = folds.index[folds == fold]
        outcome = patients.loc[ids]
        by_fold.append(
            concordance_index(outcome["survival_days"], -truth.loc[ids, "log_hazard"], outcome["event"])
        )
    return {**scores, "true hazard": float(np.mean(by_fold))}


def stain_angles(results: Path, cohort: Path) -> pd.DataFrame:
    """Return per slide the angles in degrees between recovered and true haematoxylin and eosin vectors."""
    truth = json.loads((cohort / "truth/stains.json").read_text())
    rows = []
    for path in sorted((results / "slides").glob("*/stain.json")):
        found = np.array(json.loads(path.read_text())["source"]["matrix"])
        true = np.array([truth[path.parent.name][name] for name in ("haematoxylin", "eosin")])
        cosines = (found * true).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(true, axis=1)
        rows.append((path.parent.name, *np.degrees(np.arccos(np.clip(cosines, -1, 1)))))
    return pd.DataFrame(rows, columns=["slide_id", "haematoxylin", "eosin"])


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--cohort", type=Path, default=Path("demo"))
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    scores = survival_margins(arguments.results, arguments.cohort)
    print("Survival, 3-fold C-index (test patients)")
    for model, value in scores.items():
        print(
            f"  {model:20s} {value:.3f}   over chance {value - 0.5:+.3f}   over age {value - scores['cox_age']:+.3f}"
        )
    angles = stain_angles(arguments.results, arguments.cohort)
    worst = float(angles[["haematoxylin", "eosin"]].to_numpy().max())
    print(f"Stain vectors against the truth, {len(angles)} slides, degrees")
    for name in ("haematoxylin", "eosin"):
        print(f"  {name:20s} median {angles[name].median():.2f}   largest {angles[name].max():.2f}")
    medians = float(angles[["haematoxylin", "eosin"]].median().max())
    misses = [
        text
        for text, missed in (
            ("teacher over chance", scores["teacher"] - 0.5 < TEACHER_OVER_CHANCE),
            ("teacher over Cox on age", scores["teacher"] - scores["cox_age"] < TEACHER_OVER_AGE),
            ("median stain angle", medians > STAIN_MEDIAN_DEGREES),
            ("largest stain angle", worst > STAIN_WORST_DEGREES),
        )
        if missed
    ]
    if arguments.check and misses:
        sys.exit(f"missed: {', '.join(misses)}")


if __name__ == "__main__":
    main()
