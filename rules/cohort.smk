# Folds by patient, written once and shared by every task and model; which patients took part in what.


rule split:
    output:
        folds=RESULTS.folds,
    log:
        RESULTS.log("split"),
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(10),
    params:
        **told(plan.split_job),
        code=code("split"),
    script:
        "../workflow_scripts/split.py"


rule participation:
    input:
        ledger=RESULTS.ledger,
        genes=plan.genes[:1],
    output:
        participation=RESULTS.participation,
        left_out=RESULTS.left_out,
    log:
        RESULTS.log("participation"),
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(10),
    params:
        **told(plan.participation_job),
        code=code("participation"),
    script:
        "../workflow_scripts/participation.py"
