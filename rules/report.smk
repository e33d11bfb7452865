# What the run was made of, and the page that shows it.


rule provenance:
    input:
        slides=plan.config["sheets"]["slides"],
        patients=plan.config["sheets"]["patients"],
        tables=plan.expression_paths(),
        ledger=f"{RESULTS}/ledger.tsv",
    output:
        record=f"{RESULTS}/provenance.json",
    log:
        f"{RESULTS}/logs/provenance.log",
    conda:
        "../envs/learning.yaml"
    params:
        config=plan.config,
        code=code("provenance"),
    script:
        "../workflow_scripts/provenance.py"


rule report:
    input:
        tables=tables(),
        explanations=explanations(),
        heatmaps=heatmaps(),
        ledger=f"{RESULTS}/ledger.tsv",
        participation=f"{RESULTS}/participation.tsv",
        provenance=f"{RESULTS}/provenance.json",
    output:
        html=report(
            f"{RESULTS}/report/report.html",
            category="PathDuet",
            caption="../docs/captions/report.rst",
        ),
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    conda:
        "../envs/report.yaml"
    threads: 1
    params:
        results=results_folder,
        config=plan.config,
        configfiles=[os.path.relpath(path) for path in workflow.overwrite_configfiles],
        code=code("report"),
    script:
        "../workflow_scripts/report.py"


# Asked for by name only: `snakemake --cores 1 results/run.crate.zip`.
rule crate:
    input:
        report=f"{RESULTS}/report/report.html",
        provenance=f"{RESULTS}/provenance.json",
        participation=f"{RESULTS}/participation.tsv",
        tables=tables(),
    output:
        crate=f"{RESULTS}/run.crate.zip",
    log:
        f"{RESULTS}/logs/crate.log",
    conda:
        "../envs/report.yaml"
    params:
        results=results_folder,
        code=code("crate"),
    script:
        "../workflow_scripts/crate.py"
