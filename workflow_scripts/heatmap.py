"""Heatmaps of one slide by one model of one fold: PNG, GeoJSON and viewer page."""

from pathlib import Path

from pathduet.workflow.job import job

wildcards = snakemake.wildcards
with job(snakemake) as results:
    from pathduet.cohort.sheets import SlideRow
    from pathduet.explain.viewer.slide_heatmaps import (
        explain_slide,
        without_map,
        write_absence,
        write_heatmaps,
    )
    from pathduet.features.check import verify_features

    out, slide = Path(snakemake.output.png).parent, SlideRow.from_plain(snakemake.params.settings["slide"])
    if why := without_map(results, slide.slide_id):
        write_absence(out, slide.slide_id, why)
    else:
        verify_features(results, [slide.slide_id])
        maps = explain_slide(
            results,
            slide.slide_id,
            slide.patient_id,
            wildcards.task,
            wildcards.model,
            [int(wildcards.fold)],
        )
        thumbnail = results.slide(slide.slide_id) / "thumbnail.png"
        settings = snakemake.params.settings
        write_heatmaps(
            out,
            maps,
            thumbnail,
            slide.path,
            scene=slide.scene,
            viewer_mpp=settings["viewer_mpp"],
            frame=settings["frame"],
        )
