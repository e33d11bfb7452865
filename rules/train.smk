# Teacher (slides and genes), student (slides) and distilled student, baselines and variations, for each task and fold: trained,
# and what they say about the fold's test part, its training part, and the external cohorts.


rule train:
    input:
        ledger=RESULTS.ledger,
        patients=plan.config["sheets"]["patients"],
        folds=RESULTS.folds,
        genes=asked(plan.genes_of, "model", "fold"),
        trained=trained_before,
        network=asked(plan.network_files, "model"),
    output:
        weights=RESULTS.model("{task}", "{model}", "{fold}") / WEIGHTS,
        model=RESULTS.model("{task}", "{model}", "{fold}") / DESCRIPTION,
        history=RESULTS.model("{task}", "{model}", "{fold}") / HISTORY,
        cost=RESULTS.model("{task}", "{model}", "{fold}") / COST,
        predictions=RESULTS.model("{task}", "{model}", "{fold}") / PREDICTIONS,
        representations=RESULTS.model("{task}", "{model}", "{fold}") / REPRESENTATIONS,
        training=RESULTS.model("{task}", "{model}", "{fold}") / TRAINING_PREDICTIONS,
        external=external_outputs(),
    log:
        RESULTS.log("train", "{task}", "{model}", "fold-{fold}"),
    benchmark:
        RESULTS.benchmark("train", "{task}-{model}-fold-{fold}")
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(240),
    params:
        settings=asked(plan.training_settings, "task", "model"),
        may_fail=asked(plan.may_fail, "model"),
        code=code("train"),
    script:
        "../workflow_scripts/train.py"
