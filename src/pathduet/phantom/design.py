"""What a phantom is built from: the built-in gliomas, or a user's design file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathduet.core.config import read, schema_problems
from pathduet.core.errors import Problems
from pathduet.phantom.appearance import Look
from pathduet.phantom.expression import ANCHORS, SUBPROGRAMMES, Subprogrammes
from pathduet.phantom.labels import draw_labels, label_problems, sheet_columns, truth_columns, without_truth
from pathduet.phantom.latents import simulate_patients
from pathduet.phantom.random_numbers import generator

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Site:
    """The origin of one cohort: ids, laboratory, scanner, pixel size, slide size and expression batch."""

    cohort: str
    prefix: str
    laboratory: str
    scanner: str
    mpp: float
    relative_side: float
    batch_sd: float


INTERNAL = Site("phantom", "PH", "own", "Phantom AT2", 0.5, 1.0, 0.0)
#: The external cohort: another laboratory's stain, a 40x scanner, smaller pieces, a shift of every gene.
EXTERNAL = Site("phantom_external", "PX", "other", "Phantom GT450", 0.25, 0.875, 0.45)


@dataclass(frozen=True)
class Design:
    """What a phantom is built from; the defaults are the demo's, whose patients have gliomas.

    Attributes
    ----------
    patients, external : int
        Patients of the internal and the external cohort; at least 4, external may be 0. About one in five has two slides.
    seed : int
        Seed of everything, >= 0.
    slide_px : int
        Side of an internal slide in pixels of 0.5 um; a multiple of 128, at least 512. External slides have seven eighths of
        its width in micrometres, at 0.25 um.
    """

    patients: int = 36
    external: int = 12
    seed: int = 1
    slide_px: int = 3584

    def __post_init__(self) -> None:
        problems = Problems()
        if self.patients < 4:
            problems.add("patients", str(self.patients), "give at least 4, one per diagnosis")
        if self.external != 0 and self.external < 4:
            problems.add("external", str(self.external), "give 0, or at least 4, one per diagnosis")
        if self.seed < 0:
            problems.add("seed", str(self.seed), "give 0 or more")
        if self.slide_px < 512 or self.slide_px % 128:
            problems.add("slide_px", str(self.slide_px), "give a multiple of 128, at least 512")
        problems.check()

    @property
    def sheets(self) -> dict[str, str | None]:
        """File names of the sheets, `slides` and `patients`; None for a sheet that is not written."""
        return {"slides": "slides.tsv", "patients": "patients.tsv"}

    @property
    def expression(self) -> bool:
        """Whether the phantom has expression."""
        return True

    @property
    def lists(self) -> dict[str, list[str]]:
        """The subspaces' gene lists."""
        from pathduet.expression.gene_sets import shipped

        return {"tumor": shipped("tumor"), "tme": shipped("tme")}

    @property
    def subprogrammes(self) -> Subprogrammes:
        """What drives the genes."""
        return SUBPROGRAMMES

    @property
    def anchors(self) -> Mapping[str, tuple[str, float]]:
        """Genes with a fixed sub-programme and loading."""
        return ANCHORS

    @property
    def channels(self) -> dict[str, str]:
        """The subspace that each channel of a slide shows, see :data:`pathduet.phantom.layout.CHANNELS`."""
        return {"cells": "tumor", "necrosis": "tme", "vessels": "tme", "edge": "tme"}

    @property
    def sites(self) -> dict[str, Site]:
        """Both cohorts as ``internal`` and ``external``."""
        return {"internal": INTERNAL, "external": EXTERNAL}

    def table(self, site: Site) -> str:
        """Return the file name of a cohort's expression table."""
        return f"expression_{'external' if site == self.sites['external'] else site.cohort}.tsv.gz"

    def cohorts(self) -> Iterator[tuple[Site, pd.DataFrame]]:
        """Yield each cohort's site and its patients with their latents, `z_<subspace>` among them."""
        for site, n in zip(self.sites.values(), (self.patients, self.external)):
            if n:
                yield site, self.draw(site, n)

    def draw(self, site: Site, n: int) -> pd.DataFrame:
        """Return a cohort's patients: columns of the sheet and of the truth."""
        return simulate_patients(n, site.cohort, seed=self.seed, prefix=site.prefix)

    @property
    def sheet_columns(self) -> list[str]:
        """Columns of :meth:`draw` in the patients' sheet; the others are truth."""
        return [
            "cohort", "idh", "codel_1p19q", "cdkn2a", "grade", "histology", "age_years", "sex", "survival_days", "event",
        ]  # fmt: skip

    @property
    def truth_columns(self) -> list[str]:
        """Columns of :meth:`draw` in the truth about patients."""
        return ["cohort", "diagnosis", "grade", "z_tumor", "z_tme", "log_hazard"]

    def look(self, patient: Mapping[Any, Any]) -> Look:
        """Return what a patient's slides show besides the programmes."""
        return Look(
            roundness=0.60 if patient["diagnosis"] == "oligodendroglioma" else 0.22,
            anaplasia=0.5 if patient["grade"] == "G4" else 0.0,
        )

    def without(self, what: str, site: Site, patients: pd.Index) -> set[str]:
        """Return a cohort's patients without ``slides`` or without ``expression``; no patient lacks both."""
        return set()

    def to_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON: :func:`design_of` restores the design from them."""
        return asdict(self)


@dataclass(frozen=True)
class FileDesign(Design):
    """A user's design.

    Attributes
    ----------
    plan : mapping
        Contents of the design file, see ``schemas/design.schema.yaml``; checked here.
    """

    plan: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = Problems(schema_problems(self.plan, "design"))
        problems.check()
        entries = {key: self.plan.get(key, {}) for key in ("tasks", "covariates")}
        of_config = {
            key: {name: without_truth(one) for name, one in of.items()} for key, of in entries.items()
        }
        problems += schema_problems(self.plan.get("config", {}) | of_config)
        problems.check()
        super().__post_init__()
        shown: dict[str, str] = {}
        for name, subspace in self.plan["subspaces"].items():
            for channel in subspace.get("shows", ()):
                if shown.setdefault(channel, name) != name:
                    where, found = f"subspaces.{name}.shows", f"{channel} shows {shown[channel]} already"
                    problems.add(where, found, "let each channel show one subspace")
        given = [
            sub for subspace in self.plan["subspaces"].values() for sub in subspace.get("subprogrammes", ())
        ]
        for name in sorted({name for name in given if given.count(name) > 1}):
            problems.add("subspaces", f"sub-programme {name} appears twice", "give each its own name")
        if self.sheets["slides"] is None and self.sheets["patients"] is None:
            problems.add("sheets", "neither slides nor patients", "name at least one of the two sheets")
        if not self.sheets["slides"] and not self.expression:
            problems.add("expression", "neither slides nor expression", "give at least one of both")
        apart = self.plan.get("without_slides", 0.0) + self.plan.get("without_expression", 0.0)
        if apart > 1:
            problems.add(
                "without_slides", f"{apart:g} with without_expression", "let both add up to 1 at most"
            )
        if self.plan.get("without_slides") and not self.sheets["patients"]:
            problems.add("sheets.patients", "null", "patients without slides need a separate sheet")
        problems += label_problems(self.plan)
        problems.check()

    @property
    def sheets(self) -> dict[str, str | None]:
        """See the base class."""
        return super().sheets | self.plan.get("sheets", {})

    @property
    def expression(self) -> bool:
        """See the base class."""
        return bool(self.plan.get("expression", True))

    @property
    def lists(self) -> dict[str, list[str]]:
        """See the base class."""
        from pathduet.expression.gene_sets import shipped

        return {
            name: shipped(name) if subspace["genes"] == "shipped" else _symbols(name, subspace["genes"])
            for name, subspace in self.plan["subspaces"].items()
        }

    def has_own_list(self, subspace: str) -> bool:
        """Whether a subspace has its own list and not the shipped one."""
        return bool(self.plan["subspaces"][subspace]["genes"] != "shipped")

    @property
    def subprogrammes(self) -> Subprogrammes:
        """See the base class."""
        return {
            sub: (name, float(of["correlation"]), float(of["share"]))
            for name, subspace in self.plan["subspaces"].items()
            for sub, of in (
                subspace.get("subprogrammes") or {name: {"correlation": 0.9, "share": 0.4}}
            ).items()
        }

    @property
    def anchors(self) -> Mapping[str, tuple[str, float]]:
        """See the base class."""
        return {}

    @property
    def channels(self) -> dict[str, str]:
        """See the base class."""
        subspaces = self.plan["subspaces"].items()
        return {channel: name for name, subspace in subspaces for channel in subspace.get("shows", ())}

    @property
    def sites(self) -> dict[str, Site]:
        """See the base class."""
        name = self.plan["cohort"]
        letters = name[:2].upper()
        return {
            "internal": replace(INTERNAL, cohort=name, prefix=f"{letters}-"),
            "external": replace(EXTERNAL, cohort=f"{name}_external", prefix=f"{letters}X-"),
        }

    def draw(self, site: Site, n: int) -> pd.DataFrame:
        """See the base class."""
        return draw_labels(self.plan, n, site.cohort, seed=self.seed, prefix=site.prefix)

    @property
    def sheet_columns(self) -> list[str]:
        """See the base class."""
        return ["cohort", *sheet_columns(self.plan)]

    @property
    def truth_columns(self) -> list[str]:
        """See the base class."""
        return ["cohort", *truth_columns(self.plan)]

    def look(self, patient: Mapping[Any, Any]) -> Look:
        """See the base class."""
        return Look()

    def without(self, what: str, site: Site, patients: pd.Index) -> set[str]:
        """See the base class."""
        order = generator(self.seed, "incomplete", site.cohort).permutation(len(patients))
        count = round(self.plan.get(f"without_{what}", 0.0) * len(patients))
        chosen = order[:count] if what == "slides" else order[::-1][:count]
        return set(patients[chosen])


def design_of(plain: Mapping[str, Any]) -> Design:
    """Restore a design from the values of :meth:`Design.to_plain`."""
    return FileDesign(**plain) if "plan" in plain else Design(**plain)


def read_design(path: Path, **changes: int) -> FileDesign:
    """Read a design file.

    Parameters
    ----------
    path : Path
        YAML, see ``schemas/design.schema.yaml`` and ``examples/designs``.
    changes : int
        `patients`, `external`, `seed` or `slide_px`; they override the file.

    Raises
    ------
    InputError
        Listing every problem of the file.
    """
    plan = read(path)
    numbers = {key: plan[key] for key in ("patients", "external", "seed", "slide_px") if key in plan}
    return FileDesign(**({"external": 0} | numbers | changes), plan=plan)


def _symbols(subspace: str, genes: int | Sequence[str]) -> list[str]:
    return [f"{subspace.upper()}{i}" for i in range(1, genes + 1)] if isinstance(genes, int) else list(genes)
