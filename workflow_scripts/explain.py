"""The explanations of one task: tables, then the figures drawn from them."""

from pathduet.workflow.job import job

with job(snakemake, f"explain {snakemake.params.task}") as results:
    from pathduet.explain.task_explanations import explain_task
    from pathduet.report.explanation_pages import draw_explanations

    task = snakemake.params.task
    explain_task(
        task,
        results=results.root,
        patients=snakemake.input.patients,
        settings=snakemake.params.settings,
        out_dir=results.explanations(task),
        threads=snakemake.threads,
    )
    draw_explanations(results.explanations(task))
