# Teacher (slides and genes), student (slides) and distilled student, baselines and variations, for each task, fold and seed:
# trained, with predictions for the fold's test part, its training part, and the external cohorts.


rule train:
    input:
        ledger=RESULTS.ledger,
        folds=RESULTS.folds,
        genes=asked(plan.genes_of, "model", "fold"),
        trained=trained_before,
    output:
        **trained_files("{model}"),
    log:
        RESULTS.log("train", "{task}", "{model}", "fold-{fold}"),
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(240 * len(plan.seeds)),
    params:
        **told(plan.train_job, "task", "model"),
        code=code("train"),
    script:
        "../workflow_scripts/train.py"


if plan.config["training"]["models_per_job"] == "all":

    # A task's networks on a fold in one process, each after those it learns from.
    use rule train as train_all with:
        input:
            ledger=RESULTS.ledger,
            folds=RESULTS.folds,
            genes=RESULTS.genes("{fold}") if plan.has_expression else [],
        output:
            **trained_files(*plan.networks),
        log:
            RESULTS.log("train", "{task}", "fold-{fold}"),
        params:
            **told(plan.train_job, "task"),
            code=code("train"),

    ruleorder: train_all > train
