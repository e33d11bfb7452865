# What models looked at: embeddings, genes, regions, attention, survival. One job a task: starting one costs more than most
# of what it does. Tasks have different explanations, so each has a rule of its own. Alone: `snakemake explanations`.


for task in plan.tasks:

    rule:
        name:
            f"explain_{task}"
        input:
            ledger=RESULTS.ledger,
            patients=plan.patients_sheet,
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
            annotations=plan.annotation_paths(),
            gene_sets=plan.files("explanations.gene_sets"),
        output:
            plan.explanation_files(task),
        log:
            RESULTS.log("explain", task),
        benchmark:
            RESULTS.benchmark("explain", task)
        conda:
            "../envs/learning.yaml"
        threads: 1
        resources:
            mem_mb=per_attempt(12000),
            runtime=per_attempt(240),
        params:
            task=task,
            settings=plan.explanation_settings(task),
            code=code("explain"),
        script:
            "../workflow_scripts/explain.py"
