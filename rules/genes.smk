# Expression tables -> aligned, log-scaled, highly variable, by subspace, standardised: one file per fold.


rule genes:
    input:
        folds=RESULTS.folds,
    output:
        matrix=RESULTS.genes("{fold}"),
    log:
        RESULTS.log("genes", "fold-{fold}"),
    conda:
        "../envs/expression.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(16000),
        runtime=per_attempt(30),
    params:
        **told(plan.genes_job),
        code=code("genes"),
    script:
        "../workflow_scripts/genes.py"


# The same with another share of genes, or with random genes: for the variations that need it.
use rule genes as gene_selection with:
    output:
        matrix=RESULTS.genes("{fold}", "{selection}"),
    log:
        RESULTS.log("genes", "{selection}", "fold-{fold}"),
    params:
        **told(plan.genes_job, "selection"),
        code=code("genes"),


rule subspaces:
    input:
        matrices=plan.genes,
    output:
        table=RESULTS.subspaces,
    log:
        RESULTS.log("genes", "subspaces"),
    conda:
        "../envs/expression.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(10),
    params:
        **told(plan.genes_job),
        code=code("subspaces"),
    script:
        "../workflow_scripts/subspaces.py"
