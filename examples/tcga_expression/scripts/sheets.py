"""Sheets of the three public cohorts."""

from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, "sheets"):
    from expression_models.public_gliomas import write_sheets

    from pathduet.core.files import write_text

    notes = write_sheets(snakemake.params.data, Path(snakemake.output.patients).parent)
    write_text(snakemake.output.notes, "\n".join(notes) + "\n")
