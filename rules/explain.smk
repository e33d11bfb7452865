# What models looked at: embeddings, genes, regions, attention, survival. One job a task: starting one costs more than most
# of what it does. Tasks have different explanations, so each has a rule of its own. Alone: `snakemake explanations`.

for task in plan.tasks:

    rule:
        name:
            f"explain_{task}"
        input:
            ledger=f"{RESULTS}/ledger.tsv",
            patients=plan.config["sheets"]["patients"],
            folds=f"{RESULTS}/split/folds.tsv",
            genes=[f"{RESULTS}/genes/fold-{fold}.h5ad" for fold in plan.folds],
            metrics=explained_metrics(task),
            annotations=plan.annotation_paths(),
        output:
            [
                f"{RESULTS}/explanations/{task}/{name}"
                for name in plan.explanation_files(task)
            ],
        log:
            f"{RESULTS}/logs/explain/{task}.log",
        benchmark:
            f"{RESULTS}/benchmarks/explain/{task}.tsv"
        conda:
            "../envs/learning.yaml"
        threads: 1
        params:
            results=results_folder,
            task=task,
            repair=plan.repair_settings(),
            settings=plan.explanation_settings(task),
            code=code("explain"),
        script:
            "../workflow_scripts/explain.py"
