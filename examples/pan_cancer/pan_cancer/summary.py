"""All cohorts' result tables as one table and one figure, published figures beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pathduet.core.files import atomic_path, write_text, write_tsv

METRICS = {"survival": "c_index", "classification": "auc"}
#: Columns of the table for people: which models they show, in this order; a clinical model's name follows from its covariates.
COLUMNS = {
    "age + sex": ("cox_age_sex", "logistic_age_sex"),
    "age + sex + grade": ("cox_age_sex_grade", "logistic_age_sex_grade"),
    "age + sex + stage": ("cox_age_sex_stage", "logistic_age_sex_stage"),
    "components": ("components",),
    "SNN": ("snn",),
}
COLOURS = dict(zip(COLUMNS, ("#9aa0a6", "#6b7177", "#3c4043", "#e69f00", "#0a7abf")))
#: Of which SNN the columns show: a branch each for four subspaces.
MAIN = "four"


def read_results(out: Path, cohorts: Sequence[str]) -> pd.DataFrame:
    """Return one row a cohort, number of subspaces, task and model: the first metric of its kind of task.

    Columns: cohort, subspaces, task, model, title, metric, mean, sd, ci_low, ci_high, patients, events, folds, holes.
    """
    rows: list[dict[str, Any]] = []
    for cohort in cohorts:
        for path in sorted((out / cohort).glob("*/tables/*.tsv")):
            variant, table = path.parts[-3], path.stem
            found = pd.read_csv(
                path, sep="\t", keep_default_na=False, na_values=[""], dtype={"holes": str, "title": str}
            )
            found = found[found["metric"].isin(METRICS.values())]
            for row in found.to_dict("records"):
                rows.append(
                    {
                        "cohort": cohort, "subspaces": variant, "task": table, "model": row["model"], "title": row["title"],
                        **{name: row[name] for name in ("metric", "mean", "sd", "ci_low", "ci_high")},
                        "patients": row["n_patients"], "events": events_of(out / cohort / variant, table, row["model"]),
                        "folds": row["n_folds"], "holes": row["holes"],
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def events_of(results: Path, task: str, model: str) -> float:
    """Return how many events a model's test parts hold; NaN for classifications."""
    count = 0.0
    for path in results.glob(f"models/{task}/{model}/fold-*/predictions.tsv"):
        found = pd.read_csv(path, sep="\t")
        count += found.drop_duplicates("patient_id")["event"].sum() if "event" in found else float("nan")
    return count or float("nan")


def cell(row: Any) -> str:
    """Return ``0.654 (0.610 to 0.700)``, or nothing where there is no number."""
    if row is None or pd.isna(row["mean"]):
        return ""
    return f"{row['mean']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})"


def markdown(table: pd.DataFrame, published: pd.DataFrame) -> str:
    """Return the table for people: a row a cohort and task, then the SNN by the number of subspaces."""
    lines = ["| cohort | task | patients | events | " + " | ".join(COLUMNS) + " | published |"]
    lines.append("|" + "---|" * (len(COLUMNS) + 5))
    main = table[table["subspaces"] == MAIN]
    for (cohort, task), part in main.groupby(["cohort", "task"], sort=False):
        models = {row["model"]: row for row in part.to_dict("records")}
        cells = [cell(next((models[m] for m in names if m in models), None)) for names in COLUMNS.values()]
        events = part["events"].max()
        theirs = published[(published["cohort"] == cohort) & (published["task"] == task)]
        said = "; ".join(f"{row['model']} {row['c_index']:.3f}" for row in theirs.to_dict("records"))
        counts = [f"{part['patients'].max():.0f}", "" if pd.isna(events) else f"{events:.0f}"]
        lines.append("| " + " | ".join([str(cohort).upper(), str(task), *counts, *cells, said]) + " |")
    finer = by_subspaces(table)
    shown = [number for number in ("one", "two", "four") if number in set(finer["subspaces"])]
    if len(shown) < 2:
        return "\n".join(lines) + "\n"
    lines += ["", "| cohort | SNN, subspaces: " + " | ".join(shown) + " |", "|" + "---|" * (len(shown) + 1)]
    for cohort, part in finer.groupby("cohort", sort=False):
        cells = {row["subspaces"]: cell(row) for row in part.to_dict("records")}
        lines.append(
            "| " + " | ".join([str(cohort).upper(), *(cells.get(number, "") for number in shown)]) + " |"
        )
    means = finer.pivot_table(index="cohort", columns="subspaces", values="mean").dropna()
    lines.append(
        "| "
        + " | ".join([f"mean of {len(means)}", *(f"{means[number].mean():.3f}" for number in shown)])
        + " |"
    )
    return "\n".join(lines) + "\n"


def findings(table: pd.DataFrame, published: pd.DataFrame) -> list[str]:
    """Return what the table says over cohorts: means, and in how many cohorts a model is above another."""
    main = table[table["subspaces"] == MAIN]
    lines = []

    def wide(*tasks: str) -> pd.DataFrame:
        chosen = main[main["task"].isin(tasks)]
        return chosen.pivot_table(index="cohort", columns="model", values="mean")

    def above(found: pd.DataFrame, one: str, other: str) -> str:
        return f"{int((found[one] > found[other]).sum())} of {len(found)}"

    def listed(found: pd.DataFrame) -> str:
        return ", ".join(str(cohort).upper() for cohort in found.index)

    overall = wide("os", "survival")
    # a run of some cohorts may lack a model, or hold none
    if {"snn", "components", "cox_age_sex"} <= set(overall):
        overall = overall.dropna(subset=["snn", "components"])
        lines.append(
            f"**Overall survival**, {len(overall)} cohorts with expression, mean C-index: age and sex {overall['cox_age_sex'].mean():.3f}, "
            f"components {overall['components'].mean():.3f}, SNN {overall['snn'].mean():.3f}. The SNN is above age and sex in "
            f"{above(overall, 'snn', 'cox_age_sex')} cohorts, above the components in {above(overall, 'snn', 'components')}; the components "
            f"above age and sex in {above(overall, 'components', 'cox_age_sex')}."
        )
    for more in ("stage", "grade"):
        clinical = f"cox_age_sex_{more}"
        if {clinical, "snn", "components"} <= set(overall):
            found = overall.dropna(subset=[clinical])
            lines.append(
                f"**With {more}** ({listed(found)}): age, sex and {more} {found[clinical].mean():.3f}, SNN {found['snn'].mean():.3f}, "
                f"components {found['components'].mean():.3f}; the SNN is above in {above(found, 'snn', clinical)}."
            )
    theirs = published[published["model"] == "SurvPath"].set_index("cohort")["c_index"]
    beside = wide("dss").join(theirs, how="inner")
    if len(beside) and {"snn", "components", "cox_age_sex_stage"} <= set(beside):
        lines.append(
            f"**Disease-specific survival beside SurvPath** ({listed(beside)}): SurvPath with slides {beside['c_index'].mean():.3f}, "
            f"SNN {beside['snn'].mean():.3f}, components {beside['components'].mean():.3f}, age, sex and stage "
            f"{beside['cox_age_sex_stage'].mean():.3f}."
        )
    finer = by_subspaces(table).pivot_table(index="cohort", columns="subspaces", values="mean")
    if {"one", "two", "four"} <= set(finer):
        finer = finer.dropna()
        gain = finer["four"] - finer["one"]
        lines.append(
            f"**Subspaces**, overall survival, {len(finer)} cohorts: one {finer['one'].mean():.3f}, two {finer['two'].mean():.3f}, four "
            f"{finer['four'].mean():.3f}; four is above two in {above(finer, 'four', 'two')}, two above one in {above(finer, 'two', 'one')}. "
            f"Mean difference four - one {gain.mean():+.3f} (SD over cohorts {gain.std():.3f})."
        )
    for (cohort, task), part in main[main["metric"] == "auc"].groupby(["cohort", "task"], sort=False):
        values = part.set_index("model")["mean"]
        said = (
            f"{name} {values[model]:.3f}"
            for name, models in COLUMNS.items()
            for model in models
            if model in values
        )
        lines.append(f"**{str(cohort).upper()}, {task}**, AUC: {', '.join(said)}.")
    return [f"- {line}" for line in lines]


def by_subspaces(table: pd.DataFrame) -> pd.DataFrame:
    """Return the SNN's rows about overall survival, for every number of subspaces."""
    return table[(table["model"] == "snn") & table["task"].isin(["os", "survival"])]


def draw(table: pd.DataFrame, published: pd.DataFrame, path: Path) -> None:
    """Draw every model's first metric with its 95 % interval: overall survival, the other tasks, and the SNN by subspaces."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    main = table[table["subspaces"] == MAIN]
    overall = main["task"].isin(["os", "survival"])
    finer = by_subspaces(table)
    panels = [
        ("Overall survival, C-index", main[overall], "cohort"),
        ("Other endpoints, C-index", main[~overall & (main["metric"] == "c_index")], "both"),
        ("Classes, AUC", main[~overall & (main["metric"] == "auc")], "both"),
        ("SNN by number of subspaces, C-index", finer, "subspaces"),
    ]
    figure, axes = plt.subplots(1, 4, figsize=(19, 6.2), layout="constrained")
    for axis, (title, rows, by) in zip(axes, panels):
        names = {row["cohort"].upper() if by != "both" else f"{row['cohort'].upper()} {row['task'].replace('_', ' ')}": None for row in rows.to_dict("records")}  # fmt: skip
        groups = list(COLUMNS) if by != "subspaces" else ["one", "two", "four"]
        for k, group in enumerate(groups):
            chosen = rows[
                rows["model"].isin(COLUMNS[group]) if by != "subspaces" else rows["subspaces"] == group
            ]
            chosen = chosen.dropna(subset=["mean", "ci_low"])
            where = [list(names).index(r["cohort"].upper() if by != "both" else f"{r['cohort'].upper()} {r['task'].replace('_', ' ')}") for r in chosen.to_dict("records")]  # fmt: skip
            place = [w + 0.14 * (k - (len(groups) - 1) / 2) for w in where]
            mean = chosen["mean"].to_numpy()
            error = [mean - chosen["ci_low"].to_numpy(), chosen["ci_high"].to_numpy() - mean]
            colour = COLOURS[group] if by != "subspaces" else ("#bdd7ee", "#5ea2d4", "#0a7abf")[k]
            axis.errorbar(mean, place, xerr=error, fmt="o", ms=3.5, lw=1.1, color=colour, label=group)
        for row in published.to_dict("records"):
            name = f"{row['cohort'].upper()} {row['task']}"
            if by == "both" and name in names:
                marker, said = (
                    ("D", "published: clinical")
                    if row["reads"] == "clinical"
                    else ("*", "published: with slides")
                )
                axis.plot(
                    row["c_index"],
                    list(names).index(name),
                    marker,
                    ms=7,
                    mfc="none",
                    mec="#b00020",
                    label=said,
                )
        axis.axvline(0.5, color="0.75", lw=0.8, ls=":")
        axis.set_yticks(range(len(names)), list(names), fontsize=8)
        axis.set_ylim(max(len(names), 1) - 0.5, -0.5)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x", color="0.93")
        axis.spines[["top", "right"]].set_visible(False)
        shown, said = axis.get_legend_handles_labels()
        handles = dict(zip(said, shown))
        axis.legend(
            handles.values(),
            handles.keys(),
            fontsize=7,
            frameon=False,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.06),
            ncols=3,
        )
    # no date and no random ids: same numbers, same bytes
    with (
        atomic_path(path) as temporary,
        matplotlib.rc_context({"svg.hashsalt": "pathduet", "svg.fonttype": "none"}),
    ):
        figure.savefig(temporary, metadata={"Date": None})
    plt.close(figure)


def write_summary(out: Path, cohorts: Sequence[str], published: Path) -> pd.DataFrame:
    """Write table.tsv, table.md, findings.md and figure.svg of what there is; return the table."""
    table, theirs = read_results(out, cohorts), pd.read_csv(published, sep="\t")
    write_tsv(out / "table.tsv", table)
    write_text(out / "table.md", markdown(table, theirs))
    write_text(out / "findings.md", "\n".join(findings(table, theirs)) + "\n")
    draw(table, theirs, out / "figure.svg")
    return table
