"""The run as one archive."""

from datetime import UTC, datetime
from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake, "crate"):
    from pathduet.workflow.crate import write_crate

    ended = datetime.fromtimestamp(Path(snakemake.input.report).stat().st_mtime, UTC)
    checkout = Path(snakemake.scriptdir).parent
    write_crate(Path(snakemake.params.results), checkout, Path(snakemake.output.crate), ended)
