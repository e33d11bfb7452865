"""Files are whole or absent; identities follow content; errors survive a process boundary."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pathduet.core.errors import SlideError
from pathduet.core.files import atomic_path, sha256_file, write_json
from pathduet.core.progress import track
from pathduet.core.provenance import settings_hash


def test_an_error_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == '{\n  "old": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathduet.core.files import atomic_path\n"
        f"with atomic_path({str(tmp_path / 'a.bin')!r}) as t:\n"
        "    t.write_bytes(b'half')\n    print('written', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "a.bin").exists()


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_settings_hash_ignores_key_order() -> None:
    assert settings_hash({"a": 1, "b": [2]}) == settings_hash({"b": [2], "a": 1})
    assert settings_hash({"a": 1}) != settings_hash({"a": 2})


def test_sha256_agrees_with_coreutils(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(1000))
    reference = subprocess.run(
        ["sha256sum", path], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert sha256_file(path) == reference


def test_slide_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(SlideError("s1", "no_mpp", "nothing", "add mpp")))
    assert (error.slide_id, error.reason, error.found, error.advice) == ("s1", "no_mpp", "nothing", "add mpp")


def test_progress_in_a_log_is_plain_lines_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    assert list(track(range(5), 5, "tiles", "slides", stream)) == list(range(5))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "tiles: 2/5 slides, 0.17 slides/s, 0:18 left"
    assert lines[-1].startswith("tiles: 5/5 slides in ")
