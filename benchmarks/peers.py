"""Cost of PathDuet's slide stages compared with alternative packages: same slides, same network, one thread.

    pip install uv
    python benchmarks/peers.py --environments /tmp/peers --slide $PATHDUET_TEST_DATA/slides/CMU-1-Small-Region.svs --out docs/results/peers.md

Each peer that resolves from PyPI gets its own environment (about 15 GB in all, shared files counted once) and runs its
documented defaults for tiles of 224 pixels at 0.5 um (benchmarks/peers/adapter_*.py). CLAM and TRIDENT are not on PyPI:
--checkout clam=FOLDER trident=FOLDER measures CLAM's tiling and TRIDENT. A folder that is not what its authors publish says so in
PEER_NOTE.txt, which the report repeats. Each figure comes from a separate
process and is the median of three; CPU seconds tolerate load, wall seconds do not. The network is untrained: the cost is equal.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: Packages installed for each peer; after the first, those that its own requirements omit.
PEERS = {
    "lazyslide": ("lazyslide==0.13.0", "torchvision"),
    "hs2p": ("hs2p[openslide]==6.1.0", "torch", "torchvision"),
    "tiatoolbox": ("tiatoolbox==2.1.3", "openslide-bin"),
    "mussel-pathology": ("mussel-pathology==1.5.0", "torch", "torchvision", "open_clip_torch"),
}
#: Packages for each peer that is only available as a git checkout.
CHECKOUTS = {
    "clam": ("opencv-python-headless", "openslide-python", "openslide-bin", "h5py", "matplotlib"),
    # what its core imports; encoders and segmenters that are networks need more
    "trident": (
        "torch", "torchvision", "opencv-python-headless", "openslide-python", "openslide-bin", "h5py", "geopandas",
        "scikit-image>=0.26", "matplotlib", "tqdm", "requests", "huggingface_hub", "timm",
    ),
}  # fmt: skip
NAMES = {
    "pathduet": "PathDuet",
    "pathduet, stain none": "PathDuet, stain none",
    "lazyslide": "LazySlide",
    "hs2p": "hs2p",
    "tiatoolbox": "TIAToolbox",
    "mussel-pathology": "Mussel",
    "clam": "CLAM",
    "trident": "TRIDENT",
}
#: Column, key of the measurement, factor to its unit, digits.
COLUMNS = (
    ("tissue + tiling, s", "tile", 1.0, 3),
    ("the same without pictures and checksums, s", "tile_alone", 1.0, 3),
    ("tiles", "tiles", 1.0, 0),
    ("reading, ms a tile", "read", 1e3, 2),
    ("normalising, ms a tile", "normalise", 1e3, 2),
    ("encoding, ms a tile", "encode", 1e3, 1),
    ("whole slide, free network, ms a tile", "whole", 1e3, 2),
    ("first tile, s", "first", 1.0, 2),
    ("peak, MiB", "peak_mib", 1.0, 0),
)
NOTES = (
    "`benchmarks/peers.py` and the adapters in `benchmarks/peers/` say what is run. PathDuet reads 20x tiles alone here, as the others do.",
    '"Whole slide" is tissue, tiles and features with a network that costs nothing (4 x 4 means of each channel), so that what surrounds the',
    'network is seen; the network itself, a ResNet50, is the column "encoding" (PathDuet by onnxruntime, the others by torch as it comes).',
    "PathDuet's whole way has stain normalisation and the check for blank and blurred tiles; the others' have neither, nor rules for pen.",
    "Its tile stage also draws two pictures and takes a checksum of the slide; TRIDENT draws three pictures, CLAM one, the others none: a column",
    "leaves these out. TRIDENT finds tissue by its Otsu thresholds in one process; its default is a network, which costs far more and whose weights",
    "must be downloaded.",
    "PathDuet keeps freed memory, as its slide workers do. It compares the levels of a slide's pyramid each time it finds tissue, as in the first",
    "run of a slide.",
)


@dataclass
class Measured:
    """Measurements of one peer on one slide.

    Attributes
    ----------
    values : dict
        By key: a number, or CPU and wall seconds.
    failed : dict of str to str
        By part: why it could not run.
    """

    values: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def cpu(self, key: str) -> float | None:
        """Return a number or the CPU seconds; for the whole slide, those per tile."""
        value = self._of(key, 0)
        return value / self.values["encoded"] if key == "whole" and value is not None else value

    def wall(self, key: str) -> float | None:
        """Return the wall seconds, if the measurement has any."""
        value = self._of(key, 1) if isinstance(self.values.get(key), list) else None
        return value / self.values["encoded"] if key == "whole" and value is not None else value

    def _of(self, key: str, which: int) -> float | None:
        value = self.values.get(key)
        return value[which] if isinstance(value, list) else value


def last_json(output: str) -> dict[str, Any]:
    """Return the object on the last line that holds one: peers print other output before it."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            return dict(json.loads(line))
    raise ValueError("no measurement in the output")


def table(measured: Mapping[str, Measured], ours: str = "pathduet") -> list[str]:
    """Return a Markdown table of CPU figures, wall figures in brackets, PathDuet's as share of each peer's."""
    lines = [
        "| | " + " | ".join(title for title, *_ in COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for name, one in measured.items():
        cells = []
        for _, key, factor, digits in COLUMNS:
            value, wall = one.cpu(key), one.wall(key)
            text = "-" if value is None else f"{value * factor:,.{digits}f}"
            cells.append(text if wall is None else f"{text} ({wall * factor:,.{digits}f})")
        lines.append(f"| {NAMES.get(name, name)} | " + " | ".join(cells) + " |")
    for name, one in measured.items():
        if name.split(",")[0] == ours:
            continue
        ratios = [(measured[ours].cpu(key), one.cpu(key)) for _, key, *_ in COLUMNS]
        cells = [
            "" if key == "tiles" else "-" if not mine or not theirs else f"{mine / theirs:.2f}"
            for (_, key, *_), (mine, theirs) in zip(COLUMNS, ratios)
        ]
        lines.append(f"| {NAMES[ours]} / {NAMES.get(name, name)} | " + " | ".join(cells) + " |")
    return lines


def losses(measured: Mapping[str, Measured], ours: str = "pathduet") -> list[str]:
    """Return the figures in which a peer needs less CPU or memory than PathDuet, and by how much."""
    found = []
    for title, key, *_ in COLUMNS:
        mine = measured[ours].cpu(key)
        for name, one in measured.items():
            theirs = one.cpu(key)
            if key == "tiles" or name.split(",")[0] == ours or not mine or not theirs or mine <= theirs:
                continue
            found.append(f"{title.split(',')[0]}: {mine / theirs:.2f} times {NAMES.get(name, name)}'s")
    return found


def install(name: str, root: Path) -> Path:
    """Return the Python of a peer's environment, which is created if missing."""
    python = root / name / "bin" / "python"
    if not python.exists():
        environment = os.environ | {"UV_CACHE_DIR": str(root / "cache")}
        subprocess.run(
            ["uv", "venv", "--quiet", "--python", "3.11", str(root / name)], check=True, env=environment
        )
        subprocess.run(
            ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *(PEERS | CHECKOUTS)[name]],
            check=True, env=environment,
        )  # fmt: skip
    return python


def version(python: Path | str, *packages: str) -> str:
    """Return the versions of packages in an environment."""
    code = "import sys; from importlib.metadata import version as v; print(', '.join(f'{p} {v(p)}' for p in sys.argv[1:]))"
    done = subprocess.run([str(python), "-c", code, *packages], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def origin(checkout: Path) -> str:
    """Return what was run of a peer without a package: its folder's PEER_NOTE.txt, else the commit."""
    note = checkout / "PEER_NOTE.txt"
    if note.exists():
        return note.read_text(encoding="utf-8").strip()
    return f"checkout of commit {commit(checkout)}"


def commit(checkout: Path) -> str:
    """Return the short name of a checkout's commit, empty outside git."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def measure(
    name: str, python: Path | str, slide: Path, extra: Mapping[str, str], parts: tuple[str, ...]
) -> Measured:
    """Run parts of a peer's adapter on a slide, each in a separate process."""
    adapter = HERE / "peers" / f"adapter_{name.replace('-', '_')}.py"
    found = Measured()
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            # no model hub; modules are compiled once, as after an installation
            fixed = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": ""}
            environment = os.environ | fixed | {"PEER_BEGAN": str(time.time())} | extra
            done = subprocess.run(
                [str(python), str(adapter), part, str(slide)],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )
        try:
            found.values |= last_json(done.stdout)
        except ValueError:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            found.failed[part] = said[-1][:300] if said else f"exit status {done.returncode}"
    return found


def slides(real: Path, folder: Path, edge: int) -> dict[str, Path]:
    """Return the slides by description: synthetic ones with the texture of a real one, and the real one."""
    sys.path.insert(0, str(HERE))
    from slide_engine import _texture, made_slide

    texture = _texture(real)
    return {
        f"Native 20x, {edge:,} x {edge:,} pixels": made_slide(folder / "native.svs", edge, texture),
        f"40x without a 20x level, {2 * edge:,} x {2 * edge:,} pixels": made_slide(
            folder / "finer.svs", 2 * edge, texture, mpp=0.25
        ),
        f"Small: {real.name}": real,
        f"Large native 20x, {4 * edge:,} x {4 * edge:,} pixels": made_slide(
            folder / "large.svs", 4 * edge, texture
        ),
    }


def main() -> None:
    """Install, measure and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=Path, required=True, help="folder for the peers' environments")
    parser.add_argument(
        "--slide", type=Path, required=True, help="a real slide: the small one, and the others' texture"
    )
    parser.add_argument(
        "--edge", type=int, default=8192, help="pixels of the made 20x slide's edge, in steps of 4,096"
    )
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument(
        "--checkout",
        nargs="*",
        default=[],
        metavar="NAME=FOLDER",
        help=f"checkouts of {', '.join(CHECKOUTS)}",
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# The slide stages beside other packages'",
        "",
        "```text",
        "$ python benchmarks/peers.py " + " ".join(sys.argv[1:]),
        "```",
        "",
    ]

    def say(text: str = "") -> None:
        lines.append(text)
        print(text, flush=True)

    def write() -> None:
        if arguments.out:
            arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")

    cpu = next(
        (
            row.split(":")[1].strip()
            for row in Path("/proc/cpuinfo").read_text().splitlines()
            if row.startswith("model name")
        ),
        "",
    )
    say(
        f"{datetime.date.today()}, {platform.machine()}, {cpu}, {os.cpu_count()} cores (shared), load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}; commit {commit(HERE)}. CPU seconds, wall seconds in brackets; medians of three, one thread."
    )
    say()
    pythons: dict[str, Path | str] = {"pathduet": sys.executable, "pathduet, stain none": sys.executable}
    say(
        "- PathDuet: "
        + version(sys.executable, "torch", "onnxruntime", "tifffile", "imagecodecs", "openslide-python")
    )
    checkouts = dict(given.split("=", 1) for given in arguments.checkout)
    for name in sorted(CHECKOUTS.keys() - checkouts.keys()):
        say(f"- {NAMES[name]}: not measured, not on PyPI (--checkout {name}=FOLDER)")
    for name in [*arguments.peers, *checkouts]:
        try:
            if not shutil.which("uv"):
                raise FileNotFoundError("uv is not installed")
            pythons[name] = install(name, arguments.environments)
            known = ("opencv-python-headless", "openslide-python") if name in checkouts else (name, "torch")
            what = f"{origin(Path(checkouts[name]))}; " if name in checkouts else ""
            say(f"- {NAMES[name]}: {what}{version(pythons[name], *known)}")
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"- {NAMES[name]}: not measured, its installation failed ({error})")
    say()
    for line in NOTES:
        say(line)
    with tempfile.TemporaryDirectory() as folder:
        for i, (title, slide) in enumerate(slides(arguments.slide, Path(folder), arguments.edge).items()):
            # parts that hardly depend on the slide are measured on the first one
            parts = ("slide",) if i else ("slide-and-encoder", "first")
            if title.startswith("Large"):
                parts = ("tile",)
            measured = {
                name: measure(
                    name.split(",")[0],
                    python,
                    slide,
                    {"PATHDUET_STAIN": "none"} if "," in name else {"PEER_CHECKOUT": checkouts.get(name, "")},
                    parts,
                )
                for name, python in pythons.items()
            }
            say(f"\n## {title}\n")
            for line in table(measured):
                say(line)
            behind = losses(measured)
            say("\nPathDuet needs more: " + ("; ".join(behind) if behind else "nowhere") + ".")
            for name, one in measured.items():
                for part, why in one.failed.items():
                    say(f"\nNot run: {NAMES[name]}, {part}: {why}")
            write()
    write()


if __name__ == "__main__":
    main()
