# Folds by patient, written once and shared by every task and model; who took part in what.


rule split:
    input:
        patients=plan.config["sheets"]["patients"],
        file=plan.files("split.file"),
    output:
        folds=RESULTS.folds,
    log:
        RESULTS.log("split"),
    benchmark:
        RESULTS.benchmark("split")
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(10),
    params:
        settings=plan.split_settings(),
        code=code("split"),
    script:
        "../workflow_scripts/split.py"


rule participation:
    input:
        ledger=RESULTS.ledger,
        patients=plan.config["sheets"]["patients"],
        genes=RESULTS.genes(0),
    output:
        participation=RESULTS.participation,
    log:
        RESULTS.log("participation"),
    benchmark:
        RESULTS.benchmark("participation")
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(10),
    params:
        tasks=plan.tasks,
        labels=plan.config["labels"],
        code=code("participation"),
    script:
        "../workflow_scripts/participation.py"
