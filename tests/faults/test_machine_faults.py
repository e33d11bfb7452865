"""Faults that pass (disk, memory, GPU, installation) end the job; no slide and no model is marked for good."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pathduet.cohort.sheets import SlideRow
from pathduet.cohort.tasks import Task
from pathduet.core.errors import InputError, PathDuetError, SlideError
from pathduet.core.faults import MachineFault, machine_fault, raise_machine_fault
from pathduet.core.files import atomic_path
from pathduet.evaluation import collect
from pathduet.results import DESCRIPTION, WEIGHTS
from pathduet.slides import batch, isolation, opening, tile_stage
from pathduet.slides.foreign_features import ForeignSettings, take_batch
from pathduet.slides.readers import openslide_source, pixel_source
from pathduet.slides.settings import LimitSettings, SlideSettings
from pathduet.slides.stages import run_stage
from pathduet.slides.status import read_status
from pathduet.training import fold_jobs
from pathduet.training.failures import failure_of
from pathduet.training.fold_jobs import FoldJob, run_fold
from slides.synthetic_slides import slide_row, small_settings, stained_image, write_svs

SURVIVAL = Task.of("survival", {"kind": "survival", "time": "days", "event": "event"})


class OutOfMemoryError(RuntimeError):
    """What torch raises on a GPU."""


def input_error(cause: Exception) -> InputError:
    """Return an error as readers make it of another one: ``from None``."""
    try:
        try:
            raise cause
        except OSError:
            raise InputError.of("features of slide S1", "cannot be read", "extract them again") from None
    except InputError as error:
        return error


FAULTS = {
    "full disk": OSError(errno.ENOSPC, "No space left on device"),
    "full quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "shared disk": OSError(errno.EIO, "Input/output error"),
    "stale handle": OSError(errno.ESTALE, "Stale file handle"),
    "open files": OSError(errno.EMFILE, "Too many open files"),
    "no permission in results": PermissionError(errno.EACCES, "Permission denied"),
    "HDF5": OSError("Unable to write (file write failed: errno = 28, error message = 'No space left on device')"),
    "memory": MemoryError(),
    "torch, CPU": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    "torch, GPU": OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    "GPU": RuntimeError("CUDA error: an illegal memory access was encountered"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "onnxruntime": RuntimeError("bad allocation: Failed to allocate memory for requested buffer of size 8"),
    "GPU that is gone": RuntimeError("No CUDA GPUs are available"),
    "limit of memory": ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    "threads": RuntimeError("can't start new thread"),
    "library": ModuleNotFoundError("No module named 'h5py'"),
    "shared library": OSError("libGL.so.1: cannot open shared object file: No such file or directory"),
    "behind another error": input_error(OSError(errno.EIO, "Input/output error")),
}  # fmt: skip
OWN = {
    "not finite": PathDuetError("the loss (nan) is not finite in epoch 1"),
    "shape": RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x8 and 9x2)"),
    "index on the GPU": RuntimeError("CUDA error: device-side assert triggered"),
    "no HDF5 file": OSError("Unable to synchronously open file (file signature not found)"),
    "gone": FileNotFoundError(errno.ENOENT, "No such file or directory"),
    "a name that sounds like one": InputError.of("slide out of memory", "no features", "make them"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_machine_marks_no_slide_and_no_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FAULTS[name]

    monkeypatch.setattr(tile_stage, "tile_slide", fail)
    slide = tmp_path / "S1.svs"
    slide.write_bytes(b"slide")
    with pytest.raises(MachineFault, match=r"slide S1, tile: .*then start the run again"):
        run_stage(slide_row(slide), "tile", tmp_path / "r", small_settings())
    assert read_status(tmp_path / "r", "S1", "tile") is None

    monkeypatch.setattr(FoldJob, "data", lambda *_: None)
    monkeypatch.setattr(fold_jobs, "_chosen", fail)
    job = FoldJob(SURVIVAL, "abmil", 0, tmp_path / "r", "patients.tsv", None, may_fail=True)
    with pytest.raises(MachineFault, match="survival, abmil, fold 0: "):
        run_fold(job, {"seeds": 1})
    assert not (job.model_dir() / DESCRIPTION).exists()


@pytest.mark.parametrize("name", OWN)
def test_what_a_model_or_slide_does_by_itself_is_recorded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OWN[name]

    assert machine_fault(OWN[name]) is None
    monkeypatch.setattr(FoldJob, "data", lambda *_: None)
    monkeypatch.setattr(fold_jobs, "_chosen", fail)
    job = FoldJob(SURVIVAL, "abmil", 0, tmp_path / "r", "patients.tsv", None, may_fail=True)
    run_fold(job, {"seeds": 1})
    assert str(OWN[name])[:20] in str(failure_of(job.model_dir()))


def test_a_library_that_meets_a_fault_does_not_blame_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    error = openslide_source.openslide.OpenSlideError("Couldn't fread S1.svs: Input/output error")
    with pytest.raises(MachineFault, match=r"S1\.svs"):
        pixel_source.raise_fault(error, Path("/data/S1.svs"))
    # a damaged header asks for more than any machine has; the machine has enough for a sound one
    pixel_source.raise_fault(MemoryError("Unable to allocate 1.00 EiB"), Path("S1.svs"))
    monkeypatch.setattr(pixel_source, "_memory_is_short", lambda: True)
    with pytest.raises(MachineFault):
        pixel_source.raise_fault(MemoryError(), Path("S1.svs"))


def test_a_table_is_not_written_with_a_gap_that_the_disk_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(collect, "read_predictions", fail)
    with pytest.raises(MachineFault, match="Input/output error"):
        collect._read(tmp_path)


def test_features_of_another_tool_that_the_disk_does_not_give_are_not_the_slides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 on a shared disk that is gone; a file that only its owner may read costs its slide."""
    slide = SlideRow("S1", "patient", "cohort", Path(), features_20x=tmp_path / "S1.h5")
    settings, errors = ForeignSettings(None, 1, None), iter([errno.EIO, errno.ESTALE, errno.EACCES])

    def fail(*_: object) -> None:
        number = next(errors)
        raise OSError(number, os.strerror(number))

    (tmp_path / "S1.h5").write_bytes(b"features")
    monkeypatch.setattr("h5py.File", fail)
    for _ in range(2):
        with pytest.raises(MachineFault, match="slide S1"):
            take_batch([slide], tmp_path / "r", settings, tmp_path / "m.tsv")
    assert not (tmp_path / "m.tsv").exists()
    (status,) = take_batch([slide], tmp_path / "r", settings, tmp_path / "m.tsv")
    assert status.reason == "unreadable" and "Permission denied" in status.message


def test_a_model_meets_a_full_disk_and_is_trained_when_there_is_room(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(job: FoldJob, *_: object) -> None:
        with atomic_path(job.model_dir() / WEIGHTS) as temporary:
            temporary.write_bytes(b"w" * 50_000)

    monkeypatch.setattr(FoldJob, "data", lambda *_: None)
    monkeypatch.setattr(fold_jobs, "_chosen", lambda *_: None)
    monkeypatch.setattr(fold_jobs, "_train", train)
    monkeypatch.setattr(fold_jobs, "_predict", lambda *_: None)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 60 * 1024)
    job = FoldJob(SURVIVAL, "abmil", 0, small_disk / "r", "patients.tsv", None, may_fail=True)
    with pytest.raises(MachineFault, match="No space left on device; free space"):
        run_fold(job, {"seeds": 1})
    assert list(job.model_dir().iterdir()) == []  # nothing half-written, no failure recorded
    filler.unlink()
    run_fold(job, {"seeds": 1})
    assert (job.model_dir() / WEIGHTS).stat().st_size == 50_000 and failure_of(job.model_dir()) is None


def test_a_slide_error_without_a_fault_stays_one() -> None:
    raise_machine_fault(SlideError("S1", "no_tissue", "no tissue"), "slide S1")


# -- workers: stand-ins that speak their protocol --------------------------------------------------

WORKER = """
import json, os, signal, sys, time
sys.stdin.readline()
{start}
print("ready", flush=True)
for line in sys.stdin:
    slide = json.loads(line)["slide"]["slide_id"]
    {work}
    print(json.dumps({{"status": {{"slide_id": slide, "stage": "tile", "status": "ok"}}}}), flush=True)
"""


def stand_in(monkeypatch: pytest.MonkeyPatch, start: str = "", work: str = "pass") -> None:
    script = WORKER.format(start=start, work=work)
    monkeypatch.setattr(isolation, "worker_command", lambda: [sys.executable, "-S", "-c", script])


def run(tmp_path: Path, *names: str) -> list[str]:
    rows = [slide_row(tmp_path / f"{name}.svs") for name in names]
    statuses = batch.run_batch(rows, ["tile"], tmp_path / "r", small_settings(), tmp_path / "m.tsv")
    return [status.reason for status in statuses]


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    ["import no_such_library", "sys.exit('libGL.so.1: cannot open shared object file')", "os.kill(os.getpid(), signal.SIGSEGV)"],
)  # fmt: skip
def test_a_worker_that_cannot_start_is_the_jobs_failure(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, start)
    with pytest.raises(MachineFault, match="worker cannot start") as raised:
        run(tmp_path, "a", "b")
    words = {"import": "No module named 'no_such_library'", "sys": "libGL.so.1", "os": "SIGSEGV"}
    assert words[start.split()[0].split(".")[0]] in str(raised.value)
    assert not (tmp_path / "m.tsv").exists() and not list(tmp_path.rglob("*.status.json"))
    stand_in(monkeypatch)
    assert run(tmp_path, "a", "b") == ["", ""]


@pytest.mark.slow
@pytest.mark.parametrize("library", ["h5py", "imagecodecs", "openslide", "scipy"])
def test_a_broken_library_costs_no_slide(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker itself, with a library that cannot be loaded."""
    image = stained_image(384, 384, 1)
    image[:96] = 20, 150, 60  # ink, for which scipy is imported in the middle of a slide
    rows = [slide_row(write_svs(tmp_path / f"{name}.svs", image)) for name in "ab"]
    (tmp_path / f"broken/{library}.py").parent.mkdir()
    (tmp_path / f"broken/{library}.py").write_text("raise ImportError('libbroken.so.1: wrong ELF class')")
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'broken'}{os.pathsep}{path}")
    with pytest.raises(MachineFault, match=r"libbroken\.so\.1: wrong ELF class"):
        batch.run_batch(rows, ["tile"], tmp_path / "r", small_settings(), tmp_path / "m.tsv")
    assert not (tmp_path / "m.tsv").exists() and not list(tmp_path.rglob("*.status.json"))


def test_no_more_processes_is_the_jobs_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def popen(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(isolation, "subprocess", SimpleNamespace(Popen=popen, PIPE=-1))
    with pytest.raises(MachineFault, match="no slide worker can be started"):
        run(tmp_path, "a")


@pytest.mark.slow
def test_a_worker_killed_for_memory_is_not_the_slides_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, work="slide == 'big' and os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(
        MachineFault, match=r"big: its worker was killed from outside \(signal 9, SIGKILL; usually"
    ):
        run(tmp_path, "a", "big", "b")
    assert read_status(tmp_path / "r", "big", "tile") is None and not (tmp_path / "m.tsv").exists()
    stand_in(monkeypatch, work="slide == 'big' and os.abort()")
    assert run(tmp_path, "a", "big", "b") == ["", "failed", ""]


@pytest.mark.slow
def test_a_fault_that_passes_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    work = f"""
    if slide == "b" and not os.path.exists({str(mark)!r}):
        open({str(mark)!r}, "w").close()
        print(json.dumps({{"fault": "MemoryError"}}), flush=True)
        continue"""
    stand_in(monkeypatch, work=textwrap.indent(textwrap.dedent(work), "    ").strip())
    assert run(tmp_path, "a", "b", "c") == ["", "", ""] and mark.exists()


@pytest.mark.slow
def test_a_slide_that_hangs_or_crashes_as_it_is_opened_costs_the_check_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "LONGEST_S", 0.5)
    stand_in(monkeypatch, work="slide == 'hang' and time.sleep(60); slide == 'crash' and os.abort()")
    rows = [slide_row(tmp_path / f"{name}.svs") for name in ("a", "hang", "crash", "b")]
    found = list(opening.check_slides(rows, small_settings()))
    assert [one.reason for one in found] == ["", "time_limit", "failed", ""]
    assert "not done after 0.5 s" in found[1].message and "SIGABRT" in found[2].message


@pytest.mark.slow
def test_a_suspended_worker_is_not_hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, work="time.sleep(0.8)")
    worker = isolation.Worker(["tile"], tmp_path, SlideSettings(limits=LimitSettings(1.5, 0)), 1)
    pid = worker._process.pid
    stop = f"kill -STOP {pid}; sleep 2; kill -CONT {pid}"
    with subprocess.Popen(["bash", "-c", f"sleep 0.4; {stop}"]):
        assert worker.run(slide_row(tmp_path / "a.svs"), "tile").status == "ok"
    worker.end()


@pytest.mark.slow
def test_a_suspended_job_is_not_hung(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from faults.test_machine_faults import WORKER
from pathduet.slides import isolation
from pathduet.slides.settings import LimitSettings, SlideSettings
from slides.synthetic_slides import slide_row
isolation.worker_command = lambda: [sys.executable, "-S", "-c", WORKER.format(start="", work="time.sleep(1.5)")]
worker = isolation.Worker(["tile"], Path({str(tmp_path)!r}), SlideSettings(limits=LimitSettings(2.5, 0)), 1)
print("at work", flush=True)
print(worker.run(slide_row(Path("a.svs")), "tile").status, flush=True)
"""
    job = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert job.stdout is not None and job.stdout.readline() == "at work\n"
    time.sleep(0.5)
    os.killpg(job.pid, signal.SIGSTOP)
    time.sleep(3)
    os.killpg(job.pid, signal.SIGCONT)
    assert job.stdout.read() == "ok\n" and job.wait() == 0
