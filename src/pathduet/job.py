"""What every workflow script needs: its output in its log, errors as messages, threads kept in bounds."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pathduet import progress
from pathduet.errors import PathDuetError


@contextmanager
def logged(log: str | os.PathLike[str], label: str, threads: int = 1) -> Iterator[None]:
    """Send everything this process prints to `log`; progress lines also go to the terminal.

    Native libraries print to the file descriptors, so these are redirected, not just ``sys.stderr``. A
    :class:`PathDuetError` becomes its message and exit status 1; any other error its traceback.

    Parameters
    ----------
    log : path
        The log file; its folder is made.
    label : str
        Put before progress lines on the terminal, e.g. ``features 003``.
    threads : int
        What numerical libraries loaded later may use.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = str(threads)
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    with path.open("w", buffering=1, encoding="utf-8") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
        progress.echo_to(terminal, label)
        try:
            yield
        except PathDuetError as error:
            _fail(terminal, label, path, str(error))
        except Exception as error:
            traceback.print_exc()
            _fail(terminal, label, path, f"{type(error).__name__}: {error}")


def _fail(terminal: object, label: str, path: Path, message: str) -> None:
    print(f"ERROR: {message}", file=sys.stderr, flush=True)
    print(f"[{label}] {message}\n[{label}] the whole log: {path}", file=terminal, flush=True)  # type: ignore[call-overload]
    sys.exit(1)
