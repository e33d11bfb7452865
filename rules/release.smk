# A trained model as one folder, and new slides predicted from it. Asked for by name only:
#
#   snakemake --cores 1 results/released/distilled/manifest.json
#   snakemake --cores 4 results/new_slides/predictions.tsv        the slides of `predict.slides`


rule export:
    input:
        models=released_models,
        genes=[f"{RESULTS}/genes/fold-{fold}.h5ad" for fold in plan.folds],
        folds=f"{RESULTS}/split/folds.tsv",
        ledger=f"{RESULTS}/ledger.tsv",
        participation=f"{RESULTS}/participation.tsv",
        provenance=f"{RESULTS}/provenance.json",
        tables=tables(),
    output:
        manifest=f"{RESULTS}/released/{{model}}/manifest.json",
        sums=f"{RESULTS}/released/{{model}}/SHA256SUMS",
    log:
        f"{RESULTS}/logs/export/{{model}}.log",
    conda:
        "../envs/learning.yaml"
    threads: 1
    params:
        results=results_folder,
        code=code("export"),
    script:
        "../workflow_scripts/export.py"


rule predict:
    input:
        manifest=f"{RESULTS}/released/{plan.config['predict']['model']}/manifest.json",
        sheet=plan.config["predict"]["slides"] or [],
        expression=plan.config["predict"]["expression"] or [],
        samples=plan.config["predict"]["samples"] or [],
    output:
        predictions=f"{RESULTS}/new_slides/predictions.tsv",
        ledger=f"{RESULTS}/new_slides/ledger.tsv",
    log:
        f"{RESULTS}/logs/predict.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict.tsv"
    conda:
        "../envs/learning.yaml"
    threads: 4
    params:
        settings=plan.config["predict"],
        encoder=plan.machine_settings(),
        code=code("predict"),
    script:
        "../workflow_scripts/predict.py"
