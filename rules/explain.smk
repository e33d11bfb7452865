# What models attend to: embeddings, genes, regions, attention, survival. One job per task: starting a job costs more than
# most of its work. Tasks have different explanations, so each has its own rule. Only these: `snakemake explanations`.


for task in plan.tasks:

    rule:
        name:
            f"explain_{task}"
        input:
            ledger=RESULTS.ledger,
            folds=RESULTS.folds,
            genes=plan.genes,
            models=plan.of_folds(
                plan.explained_models(task),
                WEIGHTS,
                DESCRIPTION,
                PREDICTIONS,
                TRAINING_PREDICTIONS,
                REPRESENTATIONS,
            ),
            external=explained_external(task),
            drawn=plan.drawn_files(),
        output:
            plan.explanation_files(task),
        log:
            RESULTS.log("explain", task),
        conda:
            "../envs/learning.yaml"
        threads: 1
        resources:
            mem_mb=per_attempt(12000),
            runtime=per_attempt(240),
        params:
            **told(partial(plan.explanation_job, task)),
            code=code("explain"),
        script:
            "../workflow_scripts/explain.py"
