"""How a stage ended for a slide: a small JSON file beside the slide's artifacts, written last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pathduet.core.checksums import CorruptArtifact, read_sealed, write_sealed
from pathduet.core.errors import shown
from pathduet.core.files import sha256_file
from pathduet.results import STAGE_ARTIFACTS, Results

STAGES = tuple(STAGE_ARTIFACTS)
#: Mask and tiles of a slide with too little tissue, to inspect before excluding it.
TOO_LITTLE_TISSUE = "refused.png"


def stages_to(last: str) -> tuple[str, ...]:
    """Return the stages up to one of them, which is included."""
    return STAGES[: STAGES.index(last) + 1]


@dataclass(frozen=True)
class StageStatus:
    """How a stage ended for one slide.

    Attributes
    ----------
    slide_id, stage : str
    status : {"ok", "failed", "excluded"}
    reason : str
        Empty if ok, else a key of :data:`pathduet.core.errors.SLIDE_REASONS`.
    message : str
        What was found and what to do.
    key : str
        Hash of everything that the artifact depends on.
    counts : mapping of str to int
        For instance n_10x, n_20x, failed_tiles.
    failed_stage : str
        The stage at which the slide was lost, possibly an earlier one; empty if ok.
    mpp : float or None
        Level-0 pixel size in micrometres (mean of x and y), if it was determined.
    mpp_source : str
    notes : str
        Any deviation from the usual processing.
    sha256 : mapping of str to str
        Checksum of each artifact by file name, compared before the artifact is read.
    """

    slide_id: str
    stage: str
    status: str
    reason: str = ""
    message: str = ""
    key: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    failed_stage: str = ""
    mpp: float | None = None
    mpp_source: str = ""
    notes: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # both may quote a file, and are shown in tables and on terminals
        object.__setattr__(self, "message", shown(self.message))
        object.__setattr__(self, "notes", shown(self.notes))


@dataclass(frozen=True)
class StageResult:
    """The result of a stage that finished a slide.

    Attributes
    ----------
    counts : dict of str to int
    notes : tuple of str
        Any deviation from the usual processing; empty strings are ignored.
    mpp : float or None
        Level-0 pixel size in micrometres, from the stage that finds it.
    mpp_source : str
    """

    counts: dict[str, int]
    notes: tuple[str, ...] = ()
    mpp: float | None = None
    mpp_source: str = ""


def write_status(results: Path, status: StageStatus) -> None:
    """Write a status beside the slide's artifacts."""
    write_sealed(Results(results).slide_status(status.slide_id, status.stage), asdict(status))


def read_status(results: Path, slide_id: str, stage: str) -> StageStatus | None:
    """Return a stage's status; None if it is missing or damaged."""
    try:
        return StageStatus(**read_sealed(Results(results).slide_status(slide_id, stage)))
    except (OSError, TypeError, CorruptArtifact):
        return None


def remove_artifacts(results: Path, slide_id: str, stage: str) -> None:
    """Remove a stage's artifacts of a slide."""
    for name in STAGE_ARTIFACTS[stage]:
        (Results(results).slide(slide_id) / name).unlink(missing_ok=True)


def artifact_checksums(results: Path, slide_id: str, stage: str) -> dict[str, str]:
    """Return the SHA-256 of each of a stage's artifacts of a slide."""
    return {name: sha256_file(Results(results).slide(slide_id) / name) for name in STAGE_ARTIFACTS[stage]}


def broken_artifacts(results: Path, status: StageStatus) -> list[str]:
    """Return what is wrong with the artifacts of a status; empty if they are intact."""
    problems = []
    for name in STAGE_ARTIFACTS[status.stage]:
        path = Results(results).slide(status.slide_id) / name
        if not path.is_file():
            problems.append(f"{name} is gone")
        elif status.sha256.get(name) != sha256_file(path):
            problems.append(f"{name} is not what was written")
    return problems
