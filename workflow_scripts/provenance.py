"""The record of what the run was made of."""

from pathduet.core.files import write_json
from pathduet.workflow.job import job

with job(snakemake):
    from pathduet.core.provenance import run_record

    write_json(
        snakemake.output.record,
        run_record(snakemake.params.settings, [*snakemake.params.files["own"], *snakemake.input]),
    )
