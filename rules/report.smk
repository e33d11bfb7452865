# The run's provenance, and the page that shows the run.


rule provenance:
    input:
        ledger=RESULTS.ledger,
    output:
        record=RESULTS.provenance,
    log:
        RESULTS.log("provenance"),
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(30),
    params:
        **told(plan.provenance_job),
        code=code("provenance"),
    script:
        "../workflow_scripts/provenance.py"


rule report:
    input:
        ledger=RESULTS.ledger,
        participation=RESULTS.participation,
        left_out=RESULTS.left_out,
        provenance=RESULTS.provenance,
        genes=plan.genes,
        evaluated=evaluated_files(),
        histories=plan.of_folds(plan.evaluated, HISTORY),
        ensembles=plan.ensembles,
        metrics=[RESULTS.metrics(table) for table in plan.tables],
        tables=tables(),
        explanations=explanations(),
        heatmaps=heatmaps(),
    output:
        html=report(
            RESULTS.report,
            category="PathDuet",
            caption="../docs/captions/report.rst",
        ),
    log:
        RESULTS.log("report"),
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(60),
    params:
        **told(
            partial(
                plan.report_job,
                [os.path.relpath(path) for path in workflow.overwrite_configfiles],
            )
        ),
        code=code("report"),
    script:
        "../workflow_scripts/report.py"


# Only run if requested by name: `snakemake --cores 1 results/run.crate.zip`.
rule crate:
    input:
        report=RESULTS.report,
        provenance=RESULTS.provenance,
        ledger=RESULTS.ledger,
        folds=RESULTS.folds,
        participation=RESULTS.participation,
        left_out=RESULTS.left_out,
        evaluated=evaluated_files(),
        histories=plan.of_folds(plan.evaluated, HISTORY),
        ensembles=plan.ensembles,
        metrics=[RESULTS.metrics(table) for table in plan.tables],
        tables=[RESULTS.table(t, kind) for t in plan.tables for kind in TABLE_SUFFIXES],
    output:
        crate=RESULTS.crate,
    log:
        RESULTS.log("crate"),
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(4000),
        runtime=per_attempt(60),
    params:
        code=code("crate"),
    script:
        "../workflow_scripts/crate.py"
