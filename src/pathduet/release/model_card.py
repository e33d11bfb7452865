"""The model card of a release: its purpose, training data and performance, in JSON and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pathduet.cohort.tasks import Task, tasks_of
from pathduet.core.checksums import checked
from pathduet.core.provenance import shown_files, without_folders
from pathduet.evaluation.metrics import METRIC_NAMES
from pathduet.result_tables import result_tables
from pathduet.results import Results

NOTICE = "Research use only; not for diagnosis."
NOT_INTENDED = (
    "No diagnosis, grading, prognosis or choice of treatment for any patient. No tissue other than the training "
    "cohort's: a slide of anything else still gets an answer, and the hints beside it need not notice."
)


def _counted(path: Path, columns: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the values of some columns of a TSV; {} if the file is missing."""
    import pandas as pd

    if not checked(path).is_file():
        return {}
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    return {
        column: {str(value): int(n) for value, n in table[column].value_counts().sort_index().items()}
        for column in columns
        if column in table
    }


def _intended(tasks: Iterable[Task]) -> str:
    said = ", ".join(task.in_sentence for task in tasks)
    return (
        f"Exploring what haematoxylin and eosin slides like the training cohort's say about {said}, in research. The tissue, "
        "staining and scanning should resemble the training cohort's, which is described below."
    )


def _metrics(run: Results, tables: Iterable[str], models: Sequence[str]) -> list[dict[str, Any]]:
    """Return the tables' rows of the released models, as the run wrote them."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for name in tables:
        path = run.table(name)
        if not checked(path).is_file():
            continue
        table = pd.read_csv(path, sep="\t")
        for row in table[table["model"].isin(models)].to_dict("records"):
            kept: dict[str, Any] = {
                str(key): row[key]
                for key in ("task", "model", "metric", "unit", "mean", "sd", "ci_low", "ci_high",
                            "ensemble", "n_folds", "n_patients", "n_slides")
                if key in row and not pd.isna(row[key])
            }  # fmt: skip
            rows.append({"table": name, **kept})
    return rows


def _simulated(results: Path, cohort: Path) -> bool:
    """Return whether the cohort is simulated; a relative path refers to where the run was started."""
    return any((place / "simulation.json").is_file() for place in (cohort, results.resolve().parent / cohort))


def make_card(
    run: Results,
    provenance: Mapping[str, Any],
    model: str,
    predictors: Mapping[str, Mapping[str, str]],
    training: Mapping[str, Any],
    encoder: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the card's content.

    Parameters
    ----------
    run : Results
        The run: ledger, participation and tables are read.
    provenance : mapping
        provenance.json.
    model : str
        Name of the release.
    predictors : mapping
        By task, the models without and with expression: ``slides`` and ``expression`` to a model's name.
    training : mapping
        The training part of every task, model and fold, from the models' own records.
    encoder : mapping
        The tile encoder, from the models' records.
    """
    models = {kind: name for one in predictors.values() for kind, name in one.items()}
    config = provenance["config"]
    tasks = {name: task for name, task in tasks_of(config).items() if name in predictors}
    counts = _counted(run.ledger, ["status", "reason", "cohort"])
    if "reason" in counts:
        counts["reason"].pop("", None)
    return {
        "name": model,
        "notice": NOTICE,
        "intended_use": _intended(tasks.values()),
        "not_intended": NOT_INTENDED,
        "simulated_cohort": _simulated(run.root, Path(config["sheets"]["slides"]).parent),
        "preset": config["preset"],
        "tasks": {name: task.to_plain() for name, task in tasks.items()},
        "subspaces": list(config["subspaces"]) if config["expression"]["tables"] else [],
        "models": models,
        "cohorts": config["cohorts"],
        "slides": counts,
        "patients": _counted(run.participation, ["cohort", "expression", *predictors]),
        "training": dict(training),
        "metrics": _metrics(run, result_tables(config), sorted(set(models.values()))),
        "encoder": dict(encoder),
        "config": without_folders({
            key: config[key]
            for key in ("preset", "seed", "protocol", "cohorts", "tasks", "covariates", "labels", "split", "slides", "stain",
                        "encoder", "subspaces", "expression", "model", "training", "evaluation")
            if key in config
        }, run.root),
        "versions": provenance["versions"],
        "git_commit": provenance["git_commit"],
        "source_sha256": provenance["source_sha256"],
        "inputs": shown_files(provenance["inputs"], run.root),
    }  # fmt: skip


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _spread(row: Mapping[str, Any]) -> str:
    text = f"{row['mean']:.3f}" if "mean" in row else "-"
    text += f" ± {row['sd']:.3f}" if "sd" in row else ""
    return text + (f" [{row['ci_low']:.3f}, {row['ci_high']:.3f}]" if "ci_low" in row else "")


def markdown(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    lines = [f"# Model card: {card['name']}", "", f"**{card['notice']}**", ""]
    if card["simulated_cohort"]:
        lines += [
            "**Trained on a simulated cohort (a phantom): its predictions say nothing about patients.**",
            "",
        ]
    lines += [
        "## Use",
        "",
        f"Intended: {card['intended_use']}",
        "",
        f"Not intended: {card['not_intended']}",
        "",
    ]
    lines += [f"Slides alone: `{card['models'].get('slides', 'no model')}`. "
              f"With expression: `{card['models'].get('expression', 'no model')}`. "
              "Every fold's model predicts; the release averages them.", ""]  # fmt: skip
    described = [
        (name, task["title"], task["kind"], ", ".join(filter(None, (task["column"], task["time"], task["event"]))),
         ", ".join(task["classes"]) or (task["unit"] if task["kind"] == "survival" else ""))
        for name, task in card["tasks"].items()
    ]  # fmt: skip
    lines += [
        "### Tasks",
        "",
        *_table(("task", "title", "kind", "columns", "classes or unit"), described),
        "",
    ]
    if card["subspaces"]:
        lines += [f"Gene subspaces: {', '.join(card['subspaces'])}.", ""]
    lines += ["## Training cohort", "", f"Internal: {', '.join(card['cohorts']['internal'])}. "
              f"External (never trained on): {', '.join(card['cohorts']['external']) or 'none'}.", ""]  # fmt: skip
    for title, groups in (("Slides", card["slides"]), ("Patients", card["patients"])):
        rows = [(column, value, n) for column, values in groups.items() for value, n in values.items()]
        if rows:
            lines += [f"### {title}", "", *_table(("column", "value", "count"), rows), ""]
    parts = [
        (task, model, fold, part["patients"], part["slides"], part["slides_paired"])
        for task, models in card["training"].items()
        for model, folds in models.items()
        for fold, part in folds.items()
    ]
    header = ("task", "model", "fold", "training patients", "training slides", "with expression")
    lines += ["### What each fold's model trained on", "", *_table(header, parts), ""]
    lines += ["## Metrics", "", "Mean ± SD over folds [95 % patient bootstrap interval], on each fold's test part; "
              "external: every fold's model on the external cohorts, and their ensemble.", ""]  # fmt: skip
    results = [
        (row["table"], row["model"], METRIC_NAMES.get(row["metric"], row["metric"]), _spread(row),
         f"{row['ensemble']:.3f}" if "ensemble" in row else "", row.get("n_patients", ""))
        for row in card["metrics"]
    ]  # fmt: skip
    lines += [*_table(("table", "model", "metric", "value", "ensemble", "patients"), results), ""]
    encoder = card["encoder"]
    if weights := encoder.get("weights_sha256"):
        said = (
            f", weights' SHA-256 `{weights}`. The weights are not part of this folder (their own licences apply, and their "
            "formats can carry code): `pathduet predict` finds them by name and refuses others."
        )
    else:
        said = (
            ", as the files of another tool said. `pathduet predict` takes features of the same encoder and magnification, "
            "named in a slides.tsv, and no slides."
        )
    lines += [
        "## Tile encoder", "",
        f"`{encoder['encoder']}`, {encoder['feature_dim']} numbers per tile{said}", "",
        "## Versions", "", *_table(("what", "version"), sorted(card["versions"].items())), "",
        f"Code: {card['git_commit']}, source hash {card['source_sha256']}. "
        "The whole configuration and the inputs' checksums: model_card.json.", "",
    ]  # fmt: skip
    return "\n".join(lines)
