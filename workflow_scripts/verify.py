"""Slides whose features were found damaged are made again before anything is trained on them."""

from pathlib import Path

from pathduet.atomic import write_text
from pathduet.job import job

with job(snakemake, "verify"):
    from pathduet.ledger import read_ledger
    from pathduet.sheets import read_slides
    from pathduet.slides.repairs import noted, repair
    from pathduet.slides.settings import SlideSettings

    results = Path(snakemake.params.results)
    repaired = []
    if noted(results):
        used = set(read_ledger(snakemake.input.ledger).query("status == 'ok'")["slide_id"])
        slides = [slide for slide in read_slides(snakemake.input.slides) if slide.slide_id in used]
        settings = SlideSettings.from_mapping(snakemake.params.settings)
        repaired = repair(slides, results, settings, snakemake.threads)
    write_text(snakemake.output.verified, "".join(f"{slide}\n" for slide in ["slide_id", *repaired]))
