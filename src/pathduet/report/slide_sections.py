"""Sections about slides: ledger, gallery, stains."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pathduet.core.checksums import checked
from pathduet.core.errors import SLIDE_REASONS
from pathduet.core.faults import raise_machine_fault
from pathduet.core.plural import plural
from pathduet.report import figures
from pathduet.report.blocks import Drawer, Section, gap, table
from pathduet.report.findings import Findings
from pathduet.report.pictures import EDGE_PX, data_uri

#: Rows of used slides shown in the ledger table, and failed slides shown with pictures.
LEDGER_ROWS, FAILED_PICTURES = 500, 60
_PICTURES = (("thumbnail", "Thumbnail"), ("mask", "Tissue and tiles"), ("stain", "Stain before / after"))


def ledger(found: Findings, drawer: Drawer) -> Section:
    """Every slide that was excluded or failed, and the used ones."""
    section = Section(
        "ledger", "Slide ledger", "One row per slide; each slide of the sheet is in exactly one state."
    )
    rows = found.ledger
    if rows is None:
        section.blocks.append(found.gap("No slide ledger.", "ledger.tsv"))
        return section
    lost, used = rows[rows["status"] != "ok"], rows[rows["status"] == "ok"]
    shown = pd.concat([lost, used.head(LEDGER_ROWS)])
    columns = [c for c in rows.columns if c in shown and not (shown[c].astype(str) == "").all()]
    titles = [c.replace("_", " ") for c in columns]
    if "features_sha256" in shown:
        shown["features_sha256"] = shown["features_sha256"].astype(str).str[:12]  # the file has the full hash
    note = "" if len(shown) == len(rows) else (
        f"Shown: all slides that were not used ({len(lost):,}) and the first {LEDGER_ROWS} of {len(used):,} used ones; "
        "the file has every row."
    )  # fmt: skip
    reasons = ", ".join(
        f"{r} = {SLIDE_REASONS[r]}" for r in sorted(set(lost["reason"])) if r in SLIDE_REASONS
    )
    section.blocks.append(
        table(
            "ledger", titles, shown[columns].to_numpy(dtype=object).tolist(), numbers=["n 10x", "n 20x", "mpp"],
            marks=[s if s in ("failed", "excluded") else "" for s in shown["status"]],
            note=" ".join(part for part in (note, reasons and f"Reasons: {reasons}.") if part),
            source="ledger.tsv", filterable=True,
        )
    )  # fmt: skip
    if len(used):
        counts = pd.to_numeric(used["n_20x"]).dropna()
        message = (
            f"A used slide has a median of {counts.median():.0f} tiles at 20x "
            f"(from {counts.min():.0f} to {counts.max():.0f})."
        ) if len(counts) else ""  # fmt: skip
        section.blocks.append(
            drawer.draw("tiles", figures.tiles_per_slide, {"ledger": used}, message=message,
                        caption="Tissue tiles of each used slide; each dot is a slide.", source="ledger.tsv")
        )  # fmt: skip
    return section


def gallery(found: Findings) -> Section:
    """Pictures of failed slides and of the first used ones of every cohort."""
    section = Section(
        "gallery", "Slide gallery", "What the pipeline processed: the slide, its tissue and tiles, its stain."
    )
    rows = found.ledger
    if rows is None:
        section.blocks.append(gap("No slide ledger.", "Without it this page has no list of slides."))
        return section
    total = int(found.config["report"]["gallery_slides"])
    cohorts = list(dict.fromkeys(rows["cohort"]))
    failed = rows[rows["status"] == "failed"]
    # The limit is divided evenly among the cohorts, in their order.
    each = {c: total // len(cohorts) + (i < total % len(cohorts)) for i, c in enumerate(cohorts)}
    used = [rows[(rows["cohort"] == c) & (rows["status"] == "ok")].head(each[c]) for c in cohorts]
    chosen = pd.concat([failed, *used]).to_dict("records")
    slides = [_card(found, row, i < FAILED_PICTURES or row["status"] == "ok") for i, row in enumerate(chosen)]
    n_used = sum(len(part) for part in used)
    note = (
        f"Shown: {n_used} of {plural(int((rows['status'] == 'ok').sum()), 'used slide')} (the first of each cohort, "
        f"report.gallery_slides = {total}) and all {len(failed)} failed ones"
    )
    if len(failed) > FAILED_PICTURES:
        note += f" (pictures for the first {FAILED_PICTURES})"
    section.blocks.append({"kind": "gallery", "slides": slides, "note": note + ". From slides/<slide_id>/."})
    return section


def _card(found: Findings, row: dict[Any, Any], with_pictures: bool) -> dict[str, Any]:
    failed = row["status"] == "failed"
    pictures = []
    for stem, name in _PICTURES if with_pictures else ():
        folder = found.results / "slides" / str(row["slide_id"])
        paths = [path for path in (folder / f"{stem}.png", folder / f"{stem}.jpg") if checked(path).is_file()]
        # A slide that failed early, or whose features another tool computed, has no later pictures: that is no gap.
        if not paths and (failed or (folder / "features.json").is_file()):
            continue
        picture = {"name": name, "uri": "", "gap": f"{stem}.png is not there"}
        if paths:
            try:
                # The stain picture is a wide strip of tiles.
                picture["uri"] = data_uri(paths[0], 2 * EDGE_PX if stem == "stain" else EDGE_PX)
            except (OSError, ValueError) as error:
                raise_machine_fault(error, str(paths[0]))
                picture["gap"] = f"{paths[0].name}: {type(error).__name__}"
        pictures.append(picture)
    counts = {m: row[f"n_{m}"] for m in ("10x", "20x")}
    tiles = ", ".join(f"{plural(n, 'tile')} at {m}" for m, n in counts.items() if not pd.isna(n))
    return {
        "slide_id": row["slide_id"], "patient_id": row["patient_id"], "cohort": row["cohort"], "tiles": tiles,
        "reason": row["reason"] if failed else "", "message": row["message"], "pictures": pictures,
    }  # fmt: skip


def stain(found: Findings, drawer: Drawer) -> Section:
    """The stain vectors learned from each slide."""
    section = Section(
        "stain",
        "Stain",
        "Vahadane normalisation learns two stain vectors per slide and maps both to the same target.",
    )
    measured = found.stains[found.stains["cohort"] != figures.TARGET]
    if measured.empty:
        off = found.config.get("stain", {}).get("backend") == "none"
        reason = (
            "stain.backend is none: colours are as scanned." if off else "No slides/<slide_id>/stain.json."
        )
        section.blocks.append(gap("No stain vectors.", reason))
        return section
    slides = measured["slide_id"].nunique()
    section.blocks.append(
        drawer.draw(
            "stain-vectors", figures.stain_vectors, {"stains": found.stains},
            message=_stain_message(measured),
            caption=f"Both stain vectors of {plural(slides, 'slide')}, each dot in the colour that the stain has on its slide. "
            "Position is hue, free of how much stain there is (van der Laak's c_x, c_y). "
            "Separate cohorts were stained or scanned differently: normalisation removes this.",
            source="slides/<slide_id>/stain.json",
        )
    )  # fmt: skip
    return section


def _stain_message(stains: pd.DataFrame) -> str:
    import numpy as np

    vectors = {name: rows[["r", "g", "b"]].to_numpy(dtype=float) for name, rows in stains.groupby("stain")}
    if set(vectors) != {"haematoxylin", "eosin"}:
        return ""
    unit = {name: v / np.linalg.norm(v, axis=1, keepdims=True) for name, v in vectors.items()}
    angle = np.degrees(np.arccos(np.clip((unit["haematoxylin"] * unit["eosin"]).sum(axis=1), -1, 1)))
    return f"Haematoxylin and eosin lie {np.median(angle):.0f}° apart in the median slide (least: {angle.min():.0f}°)."
