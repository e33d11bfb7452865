# Raw slides -> tiles -> stain matrix -> features, in batches. A batch's declared output is its manifest; the
# engine keeps the slides' own artifacts slide by slide, so that a killed batch loses only the current slide.


rule tile:
    input:
        drawn=plan.drawn_files(),
    output:
        manifest=RESULTS.batch("tile", "{batch}"),
    log:
        RESULTS.log("tile", "{batch}"),
    benchmark:
        RESULTS.benchmark("tile", "{batch}")
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(120),
    params:
        **told(partial(plan.stage_job, "tile"), "batch"),
        code=code("slides"),
    script:
        "../workflow_scripts/slides.py"


use rule tile as stain with:
    input:
        upstream=RESULTS.batch("tile", "{batch}"),
    output:
        manifest=RESULTS.batch("stain", "{batch}"),
    log:
        RESULTS.log("stain", "{batch}"),
    benchmark:
        RESULTS.benchmark("stain", "{batch}")
    params:
        **told(partial(plan.stage_job, "stain"), "batch"),
        code=code("slides"),


use rule tile as features with:
    input:
        upstream=RESULTS.batch("stain", "{batch}"),
    output:
        manifest=RESULTS.batch("features", "{batch}"),
    log:
        RESULTS.log("features", "{batch}"),
    benchmark:
        RESULTS.benchmark("features", "{batch}")
    resources:
        mem_mb=per_attempt(24000),
        runtime=per_attempt(240),
    params:
        **told(partial(plan.stage_job, "features"), "batch"),
        code=code("slides"),


# Replaces these three rules for slides with features from another tool.
rule foreign_features:
    output:
        manifest=RESULTS.batch("foreign_features", "{batch}"),
    log:
        RESULTS.log("foreign_features", "{batch}"),
    benchmark:
        RESULTS.benchmark("foreign_features", "{batch}")
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(120),
    params:
        **told(plan.foreign_job, "batch"),
        code=code("foreign_features"),
    script:
        "../workflow_scripts/foreign_features.py"


# Only if requested by name, e.g. `snakemake --cores 1 results/slides/S1/features.h5`: one slide, no batch.
rule one_slide:
    input:
        drawn=plan.drawn_files(),
    output:
        artifact=RESULTS.slide("{slide}") / "{artifact}",
    log:
        RESULTS.log("slides", "{slide}.{artifact}"),
    benchmark:
        RESULTS.benchmark("slides", "{slide}.{artifact}")
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(24000),
        runtime=per_attempt(60),
    params:
        **told(plan.slide_job, "slide"),
        code=code("one_slide"),
    script:
        "../workflow_scripts/one_slide.py"


rule ledger:
    input:
        manifests=[plan.last_manifest(batch) for batch in plan.batches],
    output:
        ledger=RESULTS.ledger,
    log:
        RESULTS.log("ledger"),
    benchmark:
        RESULTS.benchmark("ledger")
    conda:
        "../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(2000),
        runtime=per_attempt(30),
    params:
        **told(plan.ledger_job),
        code=code("ledger"),
    script:
        "../workflow_scripts/ledger.py"
