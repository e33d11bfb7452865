"""The run as one archive."""

from datetime import UTC, datetime
from pathlib import Path

from pathduet.workflow.job import job

with job(snakemake) as results:
    from pathduet.workflow.crate import write_crate

    ended = datetime.fromtimestamp(Path(snakemake.input.report).stat().st_mtime, UTC)
    write_crate(results, Path(snakemake.scriptdir).parent, ended)
