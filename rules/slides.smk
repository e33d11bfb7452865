# Raw slides -> tiles -> stain matrix -> features, in batches. A batch's declared output is its manifest; the
# slides' own artifacts are kept by the engine slide by slide, so that a killed batch loses only the slide in hand.
#
# Raw slides are no `input` of a rule but a parameter, their paths, sizes and dates: Snakemake fails jobs whose inputs are
# dated later than their outputs, as slides are whose scanner's clock is ahead. The sheet's check knows missing ones.


rule tile:
    output:
        manifest=f"{RESULTS}/batches/tile/{{batch}}.tsv",
    log:
        f"{RESULTS}/logs/tile/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tile/{{batch}}.tsv"
    conda:
        "../envs/slides.yaml"
    threads: 1
    params:
        stage="tile",
        results=results_folder,
        batch=slide_batch,
        stamps=slide_stamps,
        settings=plan.slide_settings("tile"),
        code=code("slides"),
    script:
        "../workflow_scripts/slides.py"


rule stain:
    input:
        upstream=f"{RESULTS}/batches/tile/{{batch}}.tsv",
    output:
        manifest=f"{RESULTS}/batches/stain/{{batch}}.tsv",
    log:
        f"{RESULTS}/logs/stain/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/stain/{{batch}}.tsv"
    conda:
        "../envs/slides.yaml"
    threads: 1
    params:
        stage="stain",
        results=results_folder,
        batch=slide_batch,
        settings=plan.slide_settings("stain"),
        code=code("slides"),
    script:
        "../workflow_scripts/slides.py"


rule features:
    input:
        upstream=f"{RESULTS}/batches/stain/{{batch}}.tsv",
    output:
        manifest=f"{RESULTS}/batches/features/{{batch}}.tsv",
    log:
        f"{RESULTS}/logs/features/{{batch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/features/{{batch}}.tsv"
    conda:
        "../envs/slides.yaml"
    threads: 1
    params:
        stage="features",
        results=results_folder,
        batch=slide_batch,
        settings=plan.slide_settings("features"),
        code=code("slides"),
    script:
        "../workflow_scripts/slides.py"


# Asked for by name only, e.g. `snakemake --cores 1 results/slides/S1/features.h5`: one slide, without its batch.
rule one_slide:
    output:
        artifact=f"{RESULTS}/slides/{{slide}}/{{artifact}}",
    log:
        f"{RESULTS}/logs/slides/{{slide}}.{{artifact}}.log",
    wildcard_constraints:
        artifact=r"tiles\.h5|stain\.json|features\.h5",
    conda:
        "../envs/slides.yaml"
    threads: 1
    params:
        results=results_folder,
        row=lambda wildcards: plan.slide_table(wildcards.slide),
        stamp=lambda wildcards: plan.raw_stamp(wildcards.slide),
        settings=plan.slide_settings("features"),
        code=code("one_slide"),
    script:
        "../workflow_scripts/one_slide.py"


rule ledger:
    input:
        manifests=manifests("features"),
        slides=plan.config["sheets"]["slides"],
        patients=plan.config["sheets"]["patients"],
    output:
        ledger=f"{RESULTS}/ledger.tsv",
    log:
        f"{RESULTS}/logs/ledger.log",
    conda:
        "../envs/learning.yaml"
    params:
        code=code("ledger"),
    script:
        "../workflow_scripts/ledger.py"
