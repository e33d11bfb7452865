"""Shared parts of the project's HTML pages: shipped files, the palette, and the rules for scripts.

A page is one file that requests nothing from a server. Its content security policy allows the page's own scripts by
their hashes and blocks all others, so that no text of a sheet or a file can run as a script.
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
    """Return a page's style: the palette of all pages, light and dark, then its own style."""
    return shipped("pathduet.core", "palette.css") + shipped(package, name)


def fill(package: str, name: str, **values: Any) -> str:
    """Fill in a page of a package's ``template`` folder; every text is escaped, and every variable must be given."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(shipped(package, name)).render(**values)


def content_hash(text: str) -> str:
    """Return the hash by which a content security policy allows exactly this script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def script_data(data: Any) -> Markup:
    r"""Return data as JSON for a script element.

    Browsers unescape nothing there. Only ``<`` could end the element or start a comment: it becomes ``\u003c``.

    Raises
    ------
    ValueError
        If a number is NaN or infinite, which JSON does not allow.
    """
    from markupsafe import Markup

    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))
