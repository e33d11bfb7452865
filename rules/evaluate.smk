# Metrics and tables from predictions: an edit of what is computed here trains nothing again.


# Cox models and logistic regressions on age, sex and grade: what any network has to beat. Fast, so all in one job.
rule clinical:
    input:
        ledger=RESULTS.ledger,
        patients=plan.config["sheets"]["patients"],
        folds=RESULTS.folds,
    output:
        clinical_outputs(),
    log:
        RESULTS.log("clinical"),
    benchmark:
        RESULTS.benchmark("clinical")
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(60),
    params:
        models={task: plan.clinical_models(task) for task in plan.tasks},
        n_folds=len(plan.folds),
        external_cohorts=plan.external_cohorts,
        settings={"labels": plan.config["labels"]},
        code=code("clinical"),
    script:
        "../workflow_scripts/clinical.py"


# One job a table: every model and fold of its rows.
rule evaluate:
    input:
        asked(plan.evaluated_files, "table"),
    output:
        metrics=RESULTS.metrics("{table}"),
        table=[RESULTS.table("{table}", suffix) for suffix in TABLE_SUFFIXES],
    log:
        RESULTS.log("evaluate", "{table}"),
    benchmark:
        RESULTS.benchmark("evaluate", "{table}")
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(120),
    params:
        table="{table}",
        rows=asked(plan.rows, "table"),
        n_folds=len(plan.folds),
        settings=plan.evaluation_settings(),
        code=code("evaluate"),
    script:
        "../workflow_scripts/evaluate.py"


# On the external cohorts the folds of a model also speak together.
use rule evaluate as evaluate_external with:
    input:
        plan.evaluated_files("external"),
    output:
        metrics=RESULTS.metrics("external"),
        table=[RESULTS.table("external", suffix) for suffix in TABLE_SUFFIXES],
        ensembles=plan.ensembles,
    log:
        RESULTS.log("evaluate", "external"),
    benchmark:
        RESULTS.benchmark("evaluate", "external")
    params:
        table="external",
        rows=plan.rows("external"),
        n_folds=len(plan.folds),
        settings=plan.evaluation_settings(),
        code=code("evaluate"),
