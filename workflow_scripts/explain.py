"""The explanations of one task: tables, then the figures drawn from them."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, f"explain {snakemake.params.task}"):
    from pathduet.explain.task_explanations import explain_task
    from pathduet.report.explanation_pages import draw_explanations

    folder = Path(snakemake.output[0]).parent
    explain_task(
        snakemake.params.task,
        results=Path(snakemake.params.results),
        patients=snakemake.input.patients,
        settings=snakemake.params.settings,
        out_dir=folder,
        repair=snakemake.params.repair,
        threads=snakemake.threads,
    )
    draw_explanations(folder)
