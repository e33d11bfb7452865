# Metrics and tables from predictions: an edit of these computations reruns no training.


# Cox, logistic and ridge regressions on clinical covariates and on principal components of expression and slides: the
# baselines that any network has to beat. They are fast, so one job fits all.
rule regressions:
    input:
        ledger=RESULTS.ledger,
        folds=RESULTS.folds,
        genes=plan.genes,
    output:
        regression_outputs(),
    log:
        RESULTS.log("regressions"),
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(60),
    params:
        **told(plan.regressions_job),
        code=code("regressions"),
    script:
        "../workflow_scripts/regressions.py"


# One job per table: every model and fold of its rows.
rule evaluate:
    input:
        asked(plan.evaluated_files, "table"),
    output:
        metrics=RESULTS.metrics("{table}"),
        table=[RESULTS.table("{table}", suffix) for suffix in TABLE_SUFFIXES],
    log:
        RESULTS.log("evaluate", "{table}"),
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(120),
    params:
        **told(plan.evaluation_job, "table"),
        code=code("evaluate"),
    script:
        "../workflow_scripts/evaluate.py"


# On the external cohorts the folds of a model are also combined; the models depend on the task.
for table in plan.tables.values():
    if not table.external:
        continue

    rule:
        name:
            f"evaluate_{table.name}"
        input:
            plan.evaluated_files(table.name),
        output:
            metrics=RESULTS.metrics(table.name),
            table=[RESULTS.table(table.name, suffix) for suffix in TABLE_SUFFIXES],
            ensembles=plan.ensembles_of(table.task),
        log:
            RESULTS.log("evaluate", table.name),
        conda:
            "../envs/learning.yaml"
        threads: 1
        resources:
            mem_mb=per_attempt(8000),
            runtime=per_attempt(120),
        params:
            **told(partial(plan.evaluation_job, table.name)),
            code=code("evaluate"),
        script:
            "../workflow_scripts/evaluate.py"
