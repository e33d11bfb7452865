# The demo's slides. The cohort's tables are written when the run is planned. The output is the table of the slides,
# which is written last, so that a killed job resumes.


rule phantom_slides:
    output:
        plan.drawn_files(),
    log:
        RESULTS.log("phantom_slides"),
    conda:
        "../envs/slides.yaml"
    threads: 8
    resources:
        mem_mb=per_attempt(8000),
        runtime=per_attempt(60),
    params:
        folder=str(demo.folder()),
        drawn_from=plan.drawn_from,
    script:
        "../workflow_scripts/phantom_slides.py"
