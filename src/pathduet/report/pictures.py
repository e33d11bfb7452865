"""Pictures of slides, downscaled and embedded in the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from pathduet.core.checksums import checked

#: Longest edge in pixels and JPEG quality: about 10-25 kB per picture.
EDGE_PX, QUALITY = 360, 78


def data_uri(path: Path, edge_px: int = EDGE_PX) -> str:
    """Return a picture as a JPEG ``data:`` URI, at most `edge_px` on its longer side.

    Raises
    ------
    OSError
        If the file is not a readable picture (Pillow's UnidentifiedImageError is one).
    """
    from PIL import Image

    with Image.open(checked(path)) as picture:
        picture.draft("RGB", (edge_px, edge_px))
        image = picture.convert("RGBA")
    image.thumbnail((edge_px, edge_px))
    ground = Image.new("RGB", image.size, (255, 255, 255))
    ground.paste(image, mask=image.getchannel("A"))
    buffer = io.BytesIO()
    ground.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
