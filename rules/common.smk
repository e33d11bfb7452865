# The configuration and the sheets, checked before any job starts; what the rules ask of it.

import contextlib
import os
import sys
from pathlib import Path

from pathduet.core.parent_process import VARIABLE
from pathduet.core.errors import PathDuetError
from pathduet.core.source_code import code_version
from pathduet.workflow.plan import Plan
from snakemake.exceptions import WorkflowError

try:
    plan = Plan.from_config(config)
except PathDuetError as error:
    raise WorkflowError(str(error)) from None

RESULTS = plan.config["results"]
# Shows one line a stage while jobs run; set when the run starts.
watch = None


wildcard_constraints:
    slide=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    batch="|".join(plan.batches),
    fold="|".join(str(fold) for fold in plan.folds),
    task="|".join(plan.tasks),
    model="|".join(plan.arms),
    selection="|".join(plan.selections),
    variation="|".join(plan.variation_tables),


# Jobs end when the workflow's process does, even if that is killed.
os.environ[VARIABLE] = str(os.getpid())
# Where envs/*.post-deploy.sh finds the package, wherever the run's own folder is.
os.environ.update(PATHDUET_CHECKOUT=str(workflow.basedir))


def code(script):
    """Hash of what a script runs: an edit of the package reruns the rules that import it."""
    return code_version(Path(workflow.basedir) / "workflow_scripts" / f"{script}.py")


def results_folder(wildcards):
    return RESULTS


def tested_part(wildcards):
    return "test"


def external_part(wildcards):
    return "external"


def manifests(stage):
    return [f"{RESULTS}/batches/{stage}/{batch}.tsv" for batch in plan.batches]


def tables():
    return [f"{RESULTS}/tables/{table}.tsv" for table in plan.tables]


def final_targets():
    return [
        f"{RESULTS}/report/report.html",
        f"{RESULTS}/participation.tsv",
        f"{RESULTS}/genes/subspaces.tsv",
        *tables(),
        *explanations(),
        *heatmaps(),
    ]


def heatmaps():
    return [
        f"{RESULTS}/explanations/{task}/{model}/fold-{fold}/{slide}/{part}"
        for task, model, fold, slide in plan.heatmaps
        for part in ("heatmap.png", "tiles.geojson", "viewer/index.html")
    ]


def slide_batch(wildcards):
    return plan.batch_table(wildcards.batch)


def slide_stamps(wildcards):
    return plan.raw_stamps(wildcards.batch)


def warm_start(wildcards):
    """A distilled student learns from a teacher and a student of the same fold."""
    folder = f"{RESULTS}/models/{wildcards.task}"
    return [
        f"{folder}/{model}/fold-{wildcards.fold}/{part}"
        for model in plan.learns_from(wildcards.model)
        for part in ("weights.safetensors", "model.json")
    ]


def expression(wildcards):
    return f"{RESULTS}/{plan.gene_folder(wildcards.model)}/fold-{wildcards.fold}.h5ad"


def selection_settings(wildcards):
    return plan.gene_settings(wildcards.selection)


def training_settings(wildcards):
    return plan.training_settings(wildcards.task, wildcards.model)


def may_fail(wildcards):
    return plan.may_fail(wildcards.model)


def clinical_outputs(parent, tasks):
    return [
        f"{RESULTS}/{parent}/{task}/{model}/fold-{{fold}}/{part}"
        for task in tasks
        for model in plan.clinical_models(task)
        for part in ("predictions.tsv", "metrics.json")
    ]


def released_models(wildcards):
    """A model of slides alone is released with the teacher, which speaks where expression is given."""
    models = dict.fromkeys([wildcards.model, "teacher"])
    return [
        f"{RESULTS}/models/{task}/{model}/fold-{fold}/{part}"
        for task in plan.tasks
        for model in models
        for fold in plan.folds
        for part in (
            "weights.safetensors",
            "model.json",
            "predictions.tsv",
            "metrics.json",
        )
    ]


def metrics_of_task(wildcards):
    return [
        f"{RESULTS}/models/{wildcards.task}/{model}/fold-{fold}/metrics.json"
        for model in plan.models(wildcards.task)
        for fold in plan.folds
    ]


def metrics_of_variations(wildcards):
    return [
        f"{RESULTS}/models/{task}/{model}/fold-{fold}/metrics.json"
        for task, model in plan.variations(wildcards.variation)
        for fold in plan.folds
    ]


def external_metrics(wildcards):
    return [
        f"{RESULTS}/external/survival/{model}/{part}/metrics.json"
        for model in plan.models("survival")
        for part in [*(f"fold-{fold}" for fold in plan.folds), "ensemble"]
    ]


def external_predictions(wildcards):
    return [
        f"{RESULTS}/external/survival/{wildcards.any_model}/fold-{fold}/predictions.tsv"
        for fold in plan.folds
    ]


def explanations():
    return [
        f"{RESULTS}/explanations/{task}/{name}"
        for task in plan.tasks
        for name in plan.explanation_files(task)
    ]


def explained_metrics(task):
    """Results of the models that a task's explanations are about, of every fold, and on external cohorts."""
    models = plan.explained_models(task)
    found = [
        f"{RESULTS}/models/{task}/{model}/fold-{fold}/metrics.json"
        for model in models
        for fold in plan.folds
    ]
    if task == "survival" and plan.external_cohorts:
        parts = [*(f"fold-{fold}" for fold in plan.folds), "ensemble"]
        found += [
            f"{RESULTS}/external/survival/{model}/{part}/metrics.json"
            for model in models
            for part in parts
        ]
    return found


def start():
    """One run at a time in a results folder; the lock goes with this process, however it ends."""
    from pathduet.workflow.clock_skew import refuse_future_inputs
    from pathduet.core.run_lock import hold_run
    from pathduet.workflow.status import plan_path, write_plan
    from pathduet.workflow.run_watch import RunWatch

    global watch
    try:
        hold_run(RESULTS)
        write_plan(plan, Path(RESULTS))
        now = plan_path(Path(RESULTS)).stat().st_mtime
        refuse_future_inputs(plan.own_files(), now)
    except PathDuetError as error:
        raise WorkflowError(str(error)) from None
    watch = RunWatch(Path(RESULTS)).start()


def same_run():
    """The words of a command line that make it one of this run: its Snakefile, configuration and environments."""
    from pathduet.workflow.status import same_run_words

    return same_run_words(
        Path.cwd(),
        Path(workflow.main_snakefile),
        workflow.config_settings.configfiles,
        workflow.config_settings.config_args,
        [str(method) for method in workflow.deployment_settings.deployment_method],
    )


def finish(succeeded, snakemake_log):
    """Say where the report is, what it found and what was lost; the exit status says the latter, too."""
    from pathduet.report.summary import closing_lines
    from pathduet.core.files import write_text
    from pathduet.workflow.status import failed_jobs, failure_lines, failures_path

    if watch is not None:
        watch.stop()
    lines, lost = closing_lines(RESULTS, succeeded)
    if not succeeded:
        failed = failure_lines(failed_jobs(*snakemake_log), same_run())
        if watch is not None:  # not where another run holds the folder
            with contextlib.suppress(OSError):  # a full or read-only disk
                write_text(failures_path(Path(RESULTS)), "\n".join(failed) + "\n")
        lines = [*failed, *lines]
    print("\n".join(lines), file=sys.stderr, flush=True)
    status = plan.config["slides"]["lost_slides_exit_status"]
    if succeeded and lost and status:
        sys.exit(status)
