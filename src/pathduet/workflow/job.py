"""The frame of every workflow script: output goes to its log, errors become messages, threads are limited."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from pathduet.core import checksums, provenance, run_lock
from pathduet.core.errors import PathDuetError, Problems, shown
from pathduet.core.file_content import CONTENTS, FileContents
from pathduet.core.parent_process import end_with_workflow
from pathduet.results import DESCRIPTION, Results
from pathduet.workflow.earlier_results import started_with
from pathduet.workflow.failures import ERROR
from pathduet.workflow.job_cost import measured


@contextmanager
def job(snakemake: Any) -> Iterator[Results]:
    """Run a workflow script's body: outputs locked, inputs verified, stopped when its workflow ends.

    Everything printed goes to the job's log (:func:`logged`). Inputs from other jobs are compared with their recorded
    checksums; outputs get checksums once the body ends without an error. What they were made of is written to
    ``provenance/`` under the log's name, and into a model's description, which releases include; what they took is written to
    ``benchmarks/``.

    Parameters
    ----------
    snakemake : object
        The object that Snakemake passes to a script.

    Yields
    ------
    Results
        The run's results folder.
    """
    end_with_workflow()
    results, log = Results(Path(snakemake.config["results"])), Path(snakemake.log[0])
    with logged(log, snakemake.threads, results.root), measured(results.job_cost(log)):
        checksums.forget(snakemake.output)
        inputs = checksums.verify(snakemake.input) | _own_inputs(snakemake.params.get("files"), results)
        yield results
        record = provenance.job_record(snakemake, provenance.shown_files(inputs, results.root))
        for output in map(Path, snakemake.output):
            if output.name == DESCRIPTION:
                provenance.embed(output, record)
        checksums.record(snakemake.output)
        outputs = {str(path): checksums.recorded(Path(path)) for path in snakemake.output}
        record["outputs"] = provenance.shown_files(outputs, results.root)
        checksums.write_sealed(results.job_record(log), record)


def _own_inputs(files: Mapping[str, str | Sequence[str]] | None, results: Results) -> dict[str, str]:
    """Return the user's files that a job will read, with the checksums the run was planned with."""
    named = [[given] if isinstance(given, str) else given for given in (files or {}).values()]
    known, found, problems = started_with(results.root, "inputs"), {}, Problems()
    for path in dict.fromkeys(chain.from_iterable(named)):
        found[path] = FileContents(results.root / CONTENTS).of(path)
        if known.get(path, found[path]) != found[path]:
            problems.add(path, "changed after this run started", "start it again")
    problems.check()
    return found


@contextmanager
def logged(log: str | os.PathLike[str], threads: int = 1, results: Path | None = None) -> Iterator[None]:
    """Send everything this process prints to `log`.

    Native libraries print to the file descriptors, so these are redirected, not just ``sys.stderr``. A
    :class:`PathDuetError` is reduced to its message and exit status 1; other errors print their traceback.

    Parameters
    ----------
    log : path
        The log file; its folder is created.
    threads : int
        Limit for numerical libraries loaded later.
    results : Path, optional
        The results folder; if given, no second process can work under the same log's name.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = str(threads)
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    if results is not None:
        run_lock.hold_job(results, path.relative_to(results).as_posix())
    path.unlink(missing_ok=True)  # a link at this path is not followed
    with path.open("x", buffering=1, encoding="utf-8") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
        try:
            yield
        except PathDuetError as error:
            _fail(str(error))
        except Exception as error:
            traceback.print_exc()
            _fail(f"{type(error).__name__}: {error}")


def _fail(message: str) -> NoReturn:
    print(f"{ERROR}{shown(message)}", file=sys.stderr, flush=True)
    sys.exit(1)
