"""The slides of the demo's phantom cohort."""

from pathlib import Path

if __name__ == "__main__":  # the drawing processes import this file again
    from pathduet.workflow.job import job

    with job(snakemake):
        from pathduet.phantom.cohort import draw_slides

        draw_slides(Path(snakemake.params.folder), snakemake.threads)
