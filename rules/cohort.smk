# Folds by patient, written once and shared by every task and model; who took part in what.


rule split:
    input:
        patients=plan.patients_sheet,
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
        patients=plan.patients_sheet,
        genes=plan.genes[:1],
    output:
        participation=RESULTS.participation,
        left_out=RESULTS.left_out,
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
        tasks=[task.to_plain() for task in plan.tasks.values()],
        left_out=plan.left_out,
        code=code("participation"),
    script:
        "../workflow_scripts/participation.py"
