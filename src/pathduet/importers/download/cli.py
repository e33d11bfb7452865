"""``pathduet fetch``: manifests of the Genomic Data Commons, and their files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pathduet.core.plural import plural

app = typer.Typer(no_args_is_help=True, help="Download cohorts: resumed, verified, several files at a time.")

BaseUrl = Annotated[str, typer.Option(help="The API; another one for a mirror.")]
_API = "https://api.gdc.cancer.gov"


@app.command()
def manifest(
    out: Annotated[
        Path, typer.Option(help="Manifest to write; the sample sheet and metadata are written beside it.")
    ],
    project: Annotated[list[str], typer.Option(help="Such as TCGA-BRCA; repeatable.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(help="slides (diagnostic), rna (STAR counts), clinical (biotab); default slides, rna."),
    ] = None,
    base_url: BaseUrl = _API,
) -> None:
    """List the files of projects: diagnostic slides and STAR counts of primary tumours."""
    from pathduet.importers.download.http import Client
    from pathduet.importers.download.manifest import query_files, write_manifest

    entries = query_files(Client(base_url.rstrip("/")), project, kind or ("slides", "rna"))
    rows = write_manifest(out, entries)
    typer.echo(f"{plural(len(rows), 'file')}, {sum(row.size for row in rows) / 2**30:.1f} GiB: {out}")


@app.command()
def gdc(
    manifest: Annotated[Path, typer.Option(help="GDC manifest: id, filename, md5, size.")],
    out: Annotated[Path, typer.Option(help="Folder; a file goes to {id}/{filename}.")],
    jobs: Annotated[int, typer.Option(min=1, max=16, help="Files at a time.")] = 4,
    token_file: Annotated[
        Path | None, typer.Option(help="Token of the portal, for controlled files.")
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="Failures in a row after which a file is given up.")
    ] = 6,
    recheck: Annotated[bool, typer.Option(help="Also compare the checksums of existing files.")] = False,
    base_url: BaseUrl = _API,
    backoff: Annotated[
        float, typer.Option(min=0.0, help="Seconds before the first retry; doubled each time.")
    ] = 1.0,
) -> None:
    """Download a manifest's files; run it again to continue. Exit status: 0 complete; 3 some failed (listed)."""
    from pathduet.importers.download import gdc as commons
    from pathduet.importers.download.http import Client
    from pathduet.importers.download.manifest import read_manifest

    rows = read_manifest(manifest)
    token = commons.read_token(token_file) if token_file else ""
    client = Client(base_url.rstrip("/"), token, retries=retries, backoff=backoff)
    if recheck:
        for row in commons.recheck(out, rows):
            typer.echo(
                f"{row.filename}: the existing file does not have the manifest's checksum; it is downloaded again",
                err=True,
            )
    results = commons.fetch(client, rows, out, jobs=jobs)
    failed = [result for result in results if result.status == "failed"]
    there = sum(result.status == "there" for result in results)
    typer.echo(
        f"{len(results) - len(failed)} of {plural(len(results), 'file')} on disk ({there} already before)"
    )
    for result in failed:
        typer.echo(f"  {result.row.id} {result.row.filename}: {result.message}")
    if failed:
        typer.echo(f"run it again, or use --manifest {out / 'failed_manifest.tsv'}")
    raise typer.Exit(3 if failed else 0)
