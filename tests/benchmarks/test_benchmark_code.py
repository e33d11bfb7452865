"""The version that a benchmark's rows carry: of its file, the modules beside it that it needs, and the package."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_an_edit_of_a_shared_module_is_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from known_truth import benchmark_code

    bench, shared, deeper, other = (
        tmp_path / f"{name}.py" for name in ("bench", "shared", "deeper", "other")
    )
    bench.write_text("from shared import x\nimport numpy\n")
    shared.write_text("def x():\n    from deeper import y\n    return y\n")
    deeper.write_text("from pathduet.losses.dev import dev_loss as y\n")
    other.write_text("z = 1\n")
    before = benchmark_code(bench)
    other.write_text("z = 2\n")
    assert benchmark_code(bench) == before
    versions = {before}
    for file, line in (
        (bench, "w = 1\n"),
        (shared, "w = 1\n"),
        (deeper, "w = 1\n"),
        (deeper, "import pathduet.losses.cgc\n"),
    ):
        file.write_text(file.read_text() + line)
        versions.add(benchmark_code(bench))
    assert len(versions) == 5


def test_every_benchmark_with_rows_names_this_version() -> None:
    texts = {file.name: file.read_text() for file in BENCHMARKS.glob("*.py")}
    files = [name for name, text in texts.items() if '"code": code' in text]
    assert len(files) >= 5
    assert [name for name in files if "benchmark_code(Path(__file__))" not in texts[name]] == []
