# The configuration and the sheets, checked before any job starts; functions that the rules use.

import contextlib
import gc
import os
import re
import sys
from functools import cache, partial
from pathlib import Path

from pathduet.core.config import is_demo, read_all
from pathduet.core.errors import PathDuetError
from pathduet.core.parent_process import VARIABLE
from pathduet.core.source_code import PACKAGE, code_version
from pathduet.result_tables import external_table
from pathduet.results import (
    COST,
    DESCRIPTION,
    HISTORY,
    PREDICTIONS,
    REPRESENTATIONS,
    TABLE_SUFFIXES,
    TRAINING_PREDICTIONS,
    WEIGHTS,
)
from pathduet.workflow import demo
from pathduet.workflow.earlier_results import refuse_unrecorded
from pathduet.workflow.plan import REGRESSION_FILES, Plan
from pathduet.workflow.preflight import check_inputs, site_warnings
from snakemake import sourcecache
from snakemake.exceptions import WorkflowError

# The handlers that lock the results folder and end a run are not called for a module.
if __name__:
    raise WorkflowError(
        "PathDuet cannot be used as a module of another workflow: run its Snakefile with --snakefile, or `include:` it."
    )

# A plan is made of objects that stay: looking for garbage among them takes a fifth of the time of planning 30,000 slides.
gc.disable()
try:
    if is_demo(config) and workflow.is_main_process:
        print(demo.prepare(), file=sys.stderr, flush=True)
    # Read as by `pathduet check`: a duplicate key is an error.
    read_all(workflow.config_settings.configfiles)
    plan = Plan.from_config(config, as_started=not workflow.is_main_process)
    if workflow.is_main_process:
        deployed = workflow.deployment_settings.deployment_method
        check_inputs(plan, same_environment=not deployed, read_again=False)
        if not {"-F", "--forceall"} & set(sys.argv):
            refuse_unrecorded(plan.results)
        plan.follow_features()
except PathDuetError as error:
    raise WorkflowError(str(error)) from None

# Scripts see the complete configuration.
config.update(plan.config)
RESULTS = plan.results
# Shows the progress of each stage while jobs run; set when the run starts.
watch = None


def one_of(names):
    """Pattern of a wildcard that matches one of some names; without names it matches nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    slide=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    batch=one_of(plan.batches),
    fold=one_of(map(str, plan.folds)),
    task=one_of(plan.tasks),
    model=one_of(plan.planned),
    selection=one_of(plan.selections),
    table=one_of(name for name, table in plan.every_table.items() if not table.external),
    artifact=r"tiles\.h5|stain\.json|features\.h5",


# Jobs end with the workflow's process, even if that is killed.
os.environ[VARIABLE] = str(os.getpid())
# Tells envs/*.post-deploy.sh where the locks and the package are, whatever the run's folder is.
os.environ.update(
    PATHDUET_WORKFLOW=str(workflow.basedir), PATHDUET_PACKAGE=str(PACKAGE)
)


# Snakemake looks at each job's script three times, and makes a class for each look.
with contextlib.suppress(AttributeError):
    sourcecache.parse_uri = cache(sourcecache.parse_uri)


def code(script):
    """Hash of the code that a script runs: an edit of the package reruns the rules that import it. Computed for planned jobs."""
    path = Path(workflow.basedir) / "workflow_scripts" / f"{script}.py"
    return lambda wildcards: code_version(path)


def per_attempt(amount):
    """Memory in MiB, or minutes; a job that was killed and is retried requests more."""
    return lambda wildcards, attempt: amount * attempt


def asked(question, *names):
    """A function of the plan, called with a job's wildcards: `asked(plan.genes_of, "model", "fold")`."""
    return lambda wildcards: question(*(wildcards[name] for name in names))


def told(question, *names):
    """A job's data as parameters of its rule. Only `decided_by` can rerun it: Snakemake does not compare parameters that depend on threads."""
    answer = asked(cache(question), *names)
    return {
        "settings": lambda wildcards, threads: answer(wildcards).settings,
        "files": lambda wildcards, threads: dict(answer(wildcards).files),
        "decided_by": lambda wildcards: answer(wildcards).decided_by,
    }


def final_targets():
    return [
        RESULTS.report,
        RESULTS.participation,
        *([RESULTS.subspaces] if plan.has_expression else []),
        *tables(),
        *explanations(),
        *heatmaps(),
    ]


def tables():
    return [RESULTS.table(table) for table in plan.tables]


def explanations():
    return [file for task in plan.tasks for file in plan.explanation_files(task)]


def heatmaps():
    return [
        RESULTS.heatmap(*target) / file
        for target in plan.heatmaps
        for file in ("heatmap.png", "tiles.geojson", "viewer/index.html")
    ]


def trained_before(wildcards):
    """Models that a distilled student learns from: a teacher and a student of the same fold and seed."""
    return [
        RESULTS.model(wildcards.task, model, wildcards.fold, seed) / file
        for model in plan.learns_from(wildcards.model)
        for seed in plan.seeds
        for file in (WEIGHTS, DESCRIPTION)
    ]


def trained_files(*models):
    """Outputs of the training runs of a job, by kind."""
    own = (
        WEIGHTS,
        DESCRIPTION,
        HISTORY,
        COST,
        PREDICTIONS,
        REPRESENTATIONS,
        TRAINING_PREDICTIONS,
    )
    files = {
        Path(file).stem: [
            RESULTS.model("{task}", model, "{fold}", seed) / file
            for model in models
            for seed in plan.seeds
        ]
        for file in own
    }
    external = (PREDICTIONS, REPRESENTATIONS) if plan.external_cohorts else ()
    files["external"] = [
        RESULTS.external("{task}", model, "{fold}", seed) / file
        for model in models
        for seed in plan.seeds
        for file in external
    ]
    return files


def regression_outputs():
    models = [(task, name) for task in plan.tasks for name in plan.regressions(task)]
    external = models if plan.external_cohorts else []
    return [
        *plan.of_folds(models, *REGRESSION_FILES),
        *plan.of_folds(external, PREDICTIONS, external=True),
    ]


def explained_external(task):
    """Predictions of a task's models on the external cohorts."""
    table = external_table(task)
    if table not in plan.tables:
        return []
    models = plan.explained_models(task)
    return [
        RESULTS.metrics(table),
        *plan.of_folds(models, PREDICTIONS, REPRESENTATIONS, external=True),
        *(RESULTS.ensemble(*model) / PREDICTIONS for model in models),
    ]


def evaluated_files():
    return sorted(
        {file for table in plan.tables for file in plan.evaluated_files(table)}
    )


def features_manifest(wildcards):
    """Slides' own artifacts are not outputs of rules: their batch's manifest shows changes."""
    return plan.last_manifest(plan.batch_of(wildcards.slide))


def released_models(wildcards):
    """A slide-only model is released with the teacher, which predicts where expression is given."""
    models = dict.fromkeys([wildcards.model, "teacher"])
    models = [model for model in models if model not in plan.left_out]
    pairs = [(task, model) for task in plan.tasks for model in models]
    return plan.of_folds(pairs, WEIGHTS, DESCRIPTION, PREDICTIONS, TRAINING_PREDICTIONS)


def start():
    """Allow one run at a time in a results folder; the lock ends with this process."""
    from pathduet.core.run_lock import hold_run
    from pathduet.workflow.console import RunConsole
    from pathduet.workflow.earlier_results import set_back_dates
    from pathduet.workflow.run_watch import RunWatch
    from pathduet.workflow.status import write_plan

    global watch
    gc.enable()
    try:
        hold_run(RESULTS.root)
        write_plan(plan, RESULTS.root)
        set_back_dates(RESULTS)
        for warning in site_warnings(plan):
            print(warning, file=sys.stderr)
    except PathDuetError as error:
        raise WorkflowError(str(error)) from None
    watch = RunWatch(RESULTS.root, RunConsole.active).start()
    # For its default limit of 100 new jobs a second Snakemake looks for jobs again a second after every look, and once
    # more for every job that ends: the looks add up.
    with contextlib.suppress(AttributeError):
        limit = workflow.scheduling_settings.max_jobs_per_timespan
        if (limit.max_jobs, limit.timespan) == (100, 1):
            workflow.scheduler.job_rate_limiter = None


def same_run():
    """Arguments that make a command part of this run: its Snakefile, configuration and environments."""
    from pathduet.workflow.failures import same_run_words

    return same_run_words(
        Path.cwd(),
        Path(workflow.main_snakefile),
        workflow.config_settings.configfiles,
        workflow.config_settings.config_args,
        [str(method) for method in workflow.deployment_settings.deployment_method],
    )


def finish(succeeded, snakemake_log):
    """Print where the report is, its findings and the losses; the exit status reflects losses, too."""
    from pathduet.report.summary import closing_lines
    from pathduet.core.files import write_text
    from pathduet.workflow.failures import failed_jobs, failure_lines
    from pathduet.workflow.status import failures_path

    if watch is not None:
        watch.stop()
    lines, lost = closing_lines(RESULTS.root, plan.config, succeeded)
    if not succeeded:
        failed = failure_lines(failed_jobs(*snakemake_log), same_run())
        if watch is not None:  # not if another run has locked the folder
            with contextlib.suppress(OSError):  # a full or read-only disk
                write_text(failures_path(RESULTS.root), "\n".join(failed) + "\n")
        lines = [*failed, *lines]
    print("\n".join(lines), file=sys.stderr, flush=True)
    status = plan.config["slides"]["lost_slides_exit_status"]
    if succeeded and lost and status:
        sys.exit(status)
