"""The known truth of a phantom cohort, written beside the input data of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathduet.core.files import atomic_path, write_json, write_text, write_tsv
from pathduet.phantom.layout import MAP_MPP, REGIONS

if TYPE_CHECKING:
    import pandas as pd

    from pathduet.phantom.expression import Genes

_README = """# Known truth of this phantom cohort

Nothing in here is input of a pipeline; it is what a pipeline's answers can be compared with.

- `patients.tsv`: per patient the programme of each subspace (`z_<subspace>`; standard normal, higher = more malignant), what the
  labels were read off (`log_hazard`, or `score_<task>`; of a survival the true log hazard: higher = earlier event), and the
  expression sub-programmes of the sequenced specimen.
- `slides.tsv`: per slide the programmes as the slide shows them, each region's share of the tissue, the
  look of the nuclei, and artefacts (kind and x,y,width,height in level-0 pixels).
- `regions/<slide_id>.png`: indexed region map, 8 um a pixel, top-left corners aligned with the slide;
  `regions/legend.json`: index -> region, and the subspace it belongs to.
- `stains.json`: per slide the unit optical-density vectors (rows haematoxylin, eosin; columns R, G, B), the
  factors on both concentrations and the intensity of empty glass: I = glass * exp(-C diag(strength) matrix).
- `genes.tsv`: per gene its subspace, the sub-programme that drives it (empty = noise), its loading (change of the
  log mean per SD of the sub-programme), and `direction`: the sign of its correlation with the subspace's programme.
- `slides/<slide_id>.json`: a slide's own record, from which the tables above are put together.
"""


def write_region_map(path: Path, labels: np.ndarray) -> None:
    """Write a region map as an indexed PNG, atomically."""
    from PIL import Image

    image = Image.fromarray(labels, mode="P")
    image.putpalette([v for i in sorted(REGIONS) for v in REGIONS[i][2]])
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", optimize=False)


def write_truth(folder: Path, patients: pd.DataFrame, genes: Genes, channels: Mapping[str, str]) -> None:
    """Write the truth about patients and genes, and the legend of the region maps, into `folder`.

    Parameters
    ----------
    folder : Path
        The cohort's `truth` folder.
    patients : pandas.DataFrame
        Latents and sub-programmes of all patients.
    genes : Genes
        Loadings.
    channels : mapping of str to str
        The subspace that each channel of the slides shows.
    """
    write_tsv(folder / "patients.tsv", patients, index=True)
    write_tsv(folder / "genes.tsv", genes.table())
    legend = {
        "micrometres_per_pixel": MAP_MPP,
        "regions": {
            str(i): {"name": name, "subspace": channels.get(channel, "")}
            for i, (name, channel, _) in REGIONS.items()
        },
    }
    write_json(folder / "regions" / "legend.json", legend)
    write_text(folder / "README.md", _README)


def write_slide_truth(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write the truth about the slides, from the records of :func:`pathduet.phantom.cohort.render_slide`."""
    import pandas as pd

    rows = []
    for record in records:
        artefacts = ";".join(f"{a['kind']}:{','.join(map(str, a['box_px']))}" for a in record["artefacts"])
        row = {key: record[key] for key in ("slide_id", "patient_id", "cohort")}
        rows.append(
            row | record["programmes"] | record["shares"] | record["cells"] | {"artefacts": artefacts}
        )
    write_tsv(folder / "slides.tsv", pd.DataFrame(rows))
    write_json(folder / "stains.json", {record["slide_id"]: record["stain"] for record in records})
