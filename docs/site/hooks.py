"""What the site has beyond docs/: the README as its front page, the configuration reference, and every source file that a page links to.

Links of docs/ lead to files of the repository, so that they work where the repository is read; here such a file becomes a page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from pathduet.core.config_reference import reference

REPOSITORY = Path(__file__).resolve().parent.parent.parent
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
_SHIM = "iframe-worker-1.0.4.js"
_LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".smk": "python",
    ".sh": "bash",
    ".toml": "toml",
    ".cff": "yaml",
}


def _place(page: str, target: str) -> str:
    """Return what a link of a page means, as a path in the repository."""
    folder = "" if page == "index.md" else posixpath.join("docs", posixpath.dirname(page))
    return posixpath.normpath(posixpath.join(folder, target))


def _source_page(path: str) -> str:
    return f"source/{path}.md"


def _texts(files: Files) -> dict[str, str]:
    return {f.src_uri: f.content_string for f in files.documentation_pages()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    made = {
        "index.md": (REPOSITORY / "README.md").read_text(encoding="utf-8"),
        "configuration.md": reference(),
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    wanted = {_place(page, link[1]) for page, text in _texts(files).items() for link in _LINK.finditer(text)}
    for path in sorted(wanted):
        if path.startswith(("docs/", "..")) or path == "docs":
            continue
        source = REPOSITORY / path
        if not source.is_file():
            raise PluginError(f"a page links to {path}, which is no file of the repository")
        text = source.read_text(encoding="utf-8")
        if source.suffix != ".md":
            language = _LANGUAGES.get(source.suffix, "text")
            text = f"# {path}\n\n``````{language}\n{text}\n``````\n"
        files.append(File.generated(config, _source_page(path), content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to their pages."""
    uri = page.file.src_uri
    if uri.startswith("source/"):  # their own links are the repository's
        return _LINK.sub(lambda link: "]", markdown) if uri.endswith(".md.md") else markdown

    def moved(link: re.Match[str]) -> str:
        path = _place(uri, link[1])
        if path == "README.md":
            target = "index.md"
        elif path.startswith("docs/"):
            target = path.removeprefix("docs/")
        else:
            target = _source_page(path)
        if target == "results" or target == "results/":
            target = "results/README.md"
        shown = posixpath.relpath(target, posixpath.dirname(uri) or ".")
        return f"]({shown}{link[2] or ''})"

    return _LINK.sub(moved, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show names in docstrings without the roles that Sphinx gives them."""
    return re.sub(r":(?:attr|class|data|func|meth|mod):<code>~?", "<code>", html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Search from file:// needs a small script that the theme would fetch from a server; ours lies beside the pages."""
    depth = page.url.count("/")
    return output.replace("https://unpkg.com/iframe-worker/shim", "../" * depth + f"assets/{_SHIM}")


def on_post_build(config: MkDocsConfig) -> None:
    """Put that script beside the pages, and refuse a site that would ask a server for anything."""
    vendor = Path(__file__).parent / "vendor"
    site = Path(config.site_dir)
    for name in (_SHIM, _SHIM.replace(".js", ".LICENSE")):
        (site / "assets" / name).write_bytes((vendor / name).read_bytes())
    for path in site.rglob("*.html"):
        if path.name != "404.html" and re.search(
            r"<(script|img|iframe)[^>]+src=\"?https?:|<link[^>]+stylesheet[^>]+https?:", path.read_text()
        ):
            raise PluginError(f"{path.relative_to(site)} asks a server for a part of itself")
