# Raw slides -> tiles -> stain matrix -> features, in batches. A batch's declared output is its manifest; the
# engine keeps the slides' own artifacts slide by slide, so that a killed batch loses only the current slide.
# Tiles and stain share a job and its processes. Features have their own, so that no GPU waits for the others.


rule tile_and_stain:
    input:
        drawn=plan.drawn_files(),
    output:
        manifest=RESULTS.batch("stain", "{batch}"),
    log:
        RESULTS.log("tile_and_stain", "{batch}"),
    conda:
        "../envs/slides.yaml"
    threads: 1
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(240),
    params:
        **told(partial(plan.stages_job, ("tile", "stain")), "batch"),
        code=code("slides"),
    script:
        "../workflow_scripts/slides.py"


use rule tile_and_stain as features with:
    input:
        upstream=RESULTS.batch("stain", "{batch}"),
    output:
        manifest=RESULTS.batch("features", "{batch}"),
    log:
        RESULTS.log("features", "{batch}"),
    resources:
        mem_mb=per_attempt(24000),
        runtime=per_attempt(240),
    params:
        **told(partial(plan.stages_job, ("features",)), "batch"),
        code=code("slides"),


# Replaces these two rules for slides with features from another tool.
rule foreign_features:
    output:
        manifest=RESULTS.batch("foreign_features", "{batch}"),
    log:
        RESULTS.log("foreign_features", "{batch}"),
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
