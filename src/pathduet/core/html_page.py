"""What the project's HTML pages share: files shipped with the package, the palette, and the rules for scripts.

A page is one file that asks no server for anything. Its content security policy names the page's own scripts by their
hashes and refuses every other, so that no text of a sheet or a file can become one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup


def shipped(package: str, name: str) -> str:
    """Return a file of a package's ``template`` folder as text."""
    return (resources.files(package) / "template" / name).read_text(encoding="utf-8")


def page_style(package: str, name: str) -> str:
    """Return a page's style: the palette of all pages, light and dark, before the style of its own."""
    return shipped("pathduet.core", "palette.css") + shipped(package, name)


def fill(package: str, name: str, **values: Any) -> str:
    """Fill in a page of a package's ``template`` folder; every text is escaped, and what it asks for must be given."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(shipped(package, name)).render(**values)


def content_hash(text: str) -> str:
    """Return the name by which a content security policy allows just this script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def script_data(data: Any) -> Markup:
    r"""Return data as JSON for a script element.

    Nothing is unescaped there, and only ``<`` could end the element or start a comment: it stands as ``\u003c``.

    Raises
    ------
    ValueError
        If a number is NaN or infinite, which JSON does not know.
    """
    from markupsafe import Markup

    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))
