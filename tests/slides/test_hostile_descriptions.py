"""A file's description never costs more time than its size, whatever is in it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pathduet.core.errors import SlideError
from pathduet.slides.readers.pixel_size import pixel_size
from pathduet.slides.readers.reader import SlideReader

N = 200_000
OME = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{}</OME>'
PIXELS = '<Image ID="Image:0"><Pixels {} SizeX="512" SizeY="512">{}</Pixels></Image>'
ENTITIES = "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(8))
DESCRIPTIONS = {
    "a name without end": OME.format(PIXELS.format("a" * N, "")),
    "spaces without end": OME.format(PIXELS.format("PhysicalSizeX" + " " * N + "=", "")),
    "elements that never end": OME.format('<Image ID="Image:0">' + "<Pixels " * (N // 8)),
    "quotes that never end": OME.format(PIXELS.format("a=\"b='c" * (N // 8), "")),
    "elements in elements": OME.format("<a>" * (N // 10) + "</a>" * (N // 10)),
    "entities in entities": f'<!DOCTYPE l [<!ENTITY a "{"x" * 1000}">{ENTITIES}]>' + OME.format("&i;"),
    "planes without end": OME.format(PIXELS.format("", '<TiffData IFD="0" PlaneCount="999999999999"/>')),
    "a number of many digits": OME.format(PIXELS.format("", f'<TiffData IFD="{"9" * 5000}"/>')),
    "digits that are none": OME.format(PIXELS.format("", '<TiffData IFD="²"/>')),
    "Aperio, spaces": "Aperio Image Library\n" + "|" + " " * N,
    "Aperio, bars": "Aperio Image Library\n" + "| MPP" * N,
    "Aperio, digits": "Aperio Image Library\n" + "1" * N,
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_is_read_in_time(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    image = np.full((512, 512, 3), 200, np.uint8)
    text = DESCRIPTIONS[name].encode()
    tifffile.imwrite(path, image, photometric="rgb", description=text, metadata=None, tile=(256, 256))
    start = time.process_time()
    try:
        with SlideReader("x", path) as reader:
            pixel_size(reader.slide_id, reader.properties, None, 0.5)
            assert reader.dimensions == (512, 512)
    except SlideError as error:
        assert error.reason in ("unreadable", "no_mpp")
    assert time.process_time() - start < 5.0  # a second of CPU at most; quadratic would be minutes
