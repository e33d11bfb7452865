"""The table of peers: what a peer's process prints becomes figures, ratios and what PathDuet loses."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "peers.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_peers", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_measurement_is_the_last_line_of_json(peers: ModuleType) -> None:
    assert peers.last_json('{"tile": 1}\nINFO\n\n{"tile": [0.5, 0.7]}\nbye\n') == {"tile": [0.5, 0.7]}
    with pytest.raises(ValueError, match="no measurement"):
        peers.last_json("Traceback\n")


def test_figures_have_their_units_and_ratios_are_ours_over_theirs(peers: ModuleType) -> None:
    ours = {
        "tile": [0.1, 0.2],
        "tile_alone": 0.05,
        "tiles": 200,
        "read": [0.001, 0.002],
        "whole": [1.0, 2.0],
        "encoded": 200,
        "peak_mib": 150.0,
    }
    theirs = {
        "tile": [0.4, 0.5],
        "tile_alone": 0.4,
        "tiles": 250,
        "read": [0.002, 0.002],
        "whole": [1.0, 1.0],
        "encoded": 250,
    }
    measured = {"pathduet": peers.Measured(ours), "hs2p": peers.Measured(theirs, {"encoder": "none"})}
    head, rule, first, second, ratio = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in peers.table(measured)
    ]
    assert len(head) == len(rule) == len(first) == len(second) == len(ratio) == 1 + len(peers.COLUMNS)
    assert first == [
        "PathDuet",
        "0.100 (0.200)",
        "0.050",
        "200",
        "1.00 (2.00)",
        "-",
        "-",
        "5.00 (10.00)",
        "-",
        "150",
    ]
    assert second[1:5] == ["0.400 (0.500)", "0.400", "250", "2.00 (2.00)"] and second[7] == "4.00 (4.00)"
    assert ratio == ["PathDuet / hs2p", "0.25", "0.12", "", "0.50", "-", "-", "1.25", "-", "-"]
    assert peers.losses(measured) == ["whole slide: 1.25 times hs2p's"]
    assert peers.losses({"pathduet": measured["hs2p"], "hs2p": measured["pathduet"]}) == [
        "tissue + tiling: 4.00 times hs2p's",
        "the same without pictures and checksums: 8.00 times hs2p's",
        "reading: 2.00 times hs2p's",
    ]


def test_a_peer_that_fails_says_why_and_leaves_the_other_figures(
    peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "peers").mkdir()
    (tmp_path / "peers" / "adapter_some_peer.py").write_text(
        "import sys\nif sys.argv[1] == 'slide': raise ValueError('no level fits')\nprint('{\"first\": [1, 2]}')\n"
    )
    monkeypatch.setattr(peers, "HERE", tmp_path)
    found = peers.measure("some-peer", sys.executable, Path("a.svs"), {}, ("first", "slide"))
    assert found.values == {"first": [1, 2]} and found.failed == {"slide": "ValueError: no level fits"}


def test_the_report_repeats_what_a_checkout_says_of_itself_else_names_its_commit(
    peers: ModuleType, tmp_path: Path
) -> None:
    assert peers.origin(peers.HERE) == f"checkout of commit {peers.commit(peers.HERE)}"
    (tmp_path / "PEER_NOTE.txt").write_text("retyped parts of commit abc\n")
    assert peers.origin(tmp_path) == "retyped parts of commit abc"
