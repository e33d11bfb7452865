"""Faults of the machine: a full disk, too little memory, a GPU error, a broken installation.

They are temporary. A job that meets one fails and reruns at the next start; no slide or model counts as failed.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

from pathduet.core.checksums import CorruptArtifact
from pathduet.core.errors import PathDuetError, SlideError

#: The results cannot be written: every other slide or model would fail the same way.
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_MACHINE = {
    *_UNWRITABLE,
    errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EBUSY, errno.ENODEV, errno.ENXIO, errno.ENOLCK,
    errno.EACCES, errno.EPERM, errno.ESTALE, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNABORTED,
    errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
}  # fmt: skip
# HDF5, OpenSlide, torch and onnxruntime state the cause only in the message.
_TEXTS = re.compile(
    "|".join(
        (
            *(re.escape(os.strerror(number)) for number in sorted(_MACHINE - {errno.EACCES, errno.EPERM})),
            "out of memory", "allocate memory", "not enough memory", "bad_?alloc", "start new thread", "usable temporary directory",
            "open shared object file", "failed to map segment", "CUDA (error|failure|driver|unknown|GPUs)", "NVML", "cuDNN error", "CU(BLAS|DNN|FFT|SOLVER)_STATUS",
        )
    ),
    re.IGNORECASE,
)  # fmt: skip


class MachineFault(PathDuetError):
    """A fault of the machine, not of the data or model.

    Attributes
    ----------
    unwritable : bool
        Whether the results cannot be written, so that all other work would fail too.
    """

    unwritable = False


def machine_fault(error: BaseException) -> BaseException | None:
    """Return the machine fault behind an error (the error or one of its causes), None if there is none."""
    return next((cause for cause in _causes(error) if _is_fault(cause)), None)


def raise_machine_fault(error: BaseException, what: str) -> None:
    """Raise a :class:`MachineFault` if one caused an error (`what` states what failed); re-raise faults and damaged artifacts."""
    if isinstance(error, MachineFault | CorruptArtifact):
        raise error
    cause = machine_fault(error)
    if cause is None:
        return
    if isinstance(error, SlideError) and isinstance(cause, PermissionError):  # of the slide's own file
        return
    text = " ".join(str(cause).split())[:400]
    fault = MachineFault(
        f"{what}: {type(cause).__name__}: {text}; {_advice(cause)}, then start the run again"
    )
    fault.unwritable = _number(cause) in _UNWRITABLE
    raise fault from error


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error reports a lack of memory."""
    return isinstance(error, MemoryError) or "memory" in str(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_fault(error: BaseException) -> bool:
    if isinstance(error, ImportError):  # imagecodecs raises it for codecs it lacks
        return type(error).__name__ != "DelayedImportError"
    if isinstance(error, MachineFault | MemoryError) or _number(error) in _MACHINE:
        return True
    text = str(error)
    # an index out of range on the GPU is the model's error
    return (
        not isinstance(error, PathDuetError)
        and bool(_TEXTS.search(text))
        and "device-side assert" not in text
    )


def _number(error: BaseException) -> int | None:
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return number
    found = re.search(r"errno = (\d+)", str(error))  # HDF5
    return int(found[1]) if found else None


def _advice(error: BaseException) -> str:
    if _number(error) in _UNWRITABLE:
        return "free space (or give access)"
    if lacks_memory(error):
        return "give the job more memory, or less work at once (fewer cores, smaller batches)"
    if isinstance(error, ImportError):
        return "repair the installation"
    return "check the disk, the GPU or the installation"
