"""Heatmaps of one slide by one model of one fold: PNG, GeoJSON and viewer page."""

from pathlib import Path

from pathduet.workflow.job import job

wildcards = snakemake.wildcards
with job(snakemake, f"heatmap {wildcards.slide}"):
    from pathduet.explain.viewer.slide_heatmaps import (
        explain_slide,
        lost_reason,
        write_absence,
        write_heatmaps,
    )
    from pathduet.slides.repairs import mend
    from pathduet.workflow.plan import slides_from_params

    results, out = Path(snakemake.params.results), Path(snakemake.output.png).parent
    (slide,) = slides_from_params(snakemake.params.slide)
    reason = lost_reason(results, slide.slide_id)
    if reason:
        write_absence(out, slide.slide_id, reason)
    else:
        repair = snakemake.params.repair
        mend(results, [slide.slide_id], repair["sheet"], repair["settings"])
        maps = explain_slide(
            results, slide.slide_id, slide.patient_id, wildcards.task, wildcards.model, [int(wildcards.fold)]
        )
        thumbnail = results / "slides" / slide.slide_id / "thumbnail.png"
        write_heatmaps(out, maps, thumbnail, slide.path, viewer_mpp=snakemake.params.viewer_mpp)
