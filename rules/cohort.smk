# Folds by patient, written once and shared by every task and model; who took part in what.


rule split:
    input:
        patients=plan.config["sheets"]["patients"],
        file=plan.config["split"]["file"] or [],
    output:
        folds=f"{RESULTS}/split/folds.tsv",
    log:
        f"{RESULTS}/logs/split.log",
    conda:
        "../envs/learning.yaml"
    params:
        settings=plan.split_settings(),
        code=code("split"),
    script:
        "../workflow_scripts/split.py"


rule participation:
    input:
        ledger=f"{RESULTS}/ledger.tsv",
        patients=plan.config["sheets"]["patients"],
        genes=f"{RESULTS}/genes/fold-0.h5ad",
    output:
        participation=f"{RESULTS}/participation.tsv",
    log:
        f"{RESULTS}/logs/participation.log",
    conda:
        "../envs/learning.yaml"
    params:
        tasks=plan.tasks,
        labels=plan.config["labels"],
        code=code("participation"),
    script:
        "../workflow_scripts/participation.py"
