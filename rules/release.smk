# A trained model as one folder, and predictions of new slides from it. Only run if requested by name:
#
#   snakemake --cores 1 results/released/distilled/manifest.json
#   snakemake --cores 4 results/new_slides/predictions.tsv        the slides of `predict.slides`


rule export:
    input:
        models=released_models,
        genes=plan.genes,
        folds=RESULTS.folds,
        ledger=RESULTS.ledger,
        participation=RESULTS.participation,
        provenance=RESULTS.provenance,
        tables=tables(),
        metrics=[RESULTS.metrics(table) for table in plan.tables],
    output:
        manifest=RESULTS.released("{model}") / "manifest.json",
        sums=RESULTS.released("{model}") / "SHA256SUMS",
    log:
        RESULTS.log("export", "{model}"),
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(60),
    params:
        **told(plan.export_job),
        code=code("export"),
    script:
        "../workflow_scripts/export.py"


rule predict:
    input:
        manifest=RESULTS.released(plan.released_model) / "manifest.json",
    output:
        predictions=RESULTS.new_slides / "predictions.tsv",
        ledger=RESULTS.new_slides / "ledger.tsv",
    log:
        RESULTS.log("predict"),
    conda:
        "../envs/learning.yaml"
    threads: 4
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(240),
    params:
        **told(plan.prediction_job),
        code=code("predict"),
    script:
        "../workflow_scripts/predict.py"
