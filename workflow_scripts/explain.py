"""The explanations of one task: tables, then figures of them."""

from pathduet.workflow.job import job

with job(snakemake) as results:
    from pathduet.catalogue import catalogue_of
    from pathduet.cohort.tasks import Task
    from pathduet.explain.fold_results import TaskRun
    from pathduet.explain.task_explanations import explain_task
    from pathduet.report.explanation_pages import draw_explanations

    settings = snakemake.params.settings
    task = Task.of(settings["task"]["name"], settings["task"])
    folder = results.explanations(task.name)
    files = snakemake.params.files
    run = TaskRun(task, results, settings, files["patients"], folder, *files["slides"])
    explain_task(run, threads=snakemake.threads)
    draw_explanations(folder, catalogue_of(settings["catalogue"]))
