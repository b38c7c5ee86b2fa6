"""What MkDocs does for leasekit besides: pages link to files of the repository, as readers of the repository expect.

Some of those files become pages of the site; links among them and the pages of `docs/` then lead from page to page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

# Path in the repository: place in the site. What is in `docs/` stands at the top of the site.
PLACES = {
    "ARCHITECTURE.md": "repository/ARCHITECTURE.md",
    "CHANGELOG.md": "repository/CHANGELOG.md",
    "compose/README.md": "repository/compose/README.md",
}
# The README's part in the site is the first page's.
STANDING_FOR = {"README.md": "index.md"}

_LINK = re.compile(r"(?<=\]\()(?P<target>[^)#\s:]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's own pages."""
    for source, place in PLACES.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to where their targets stand in the site."""
    place = page.file.src_uri
    source = next((source for source, at in PLACES.items() if at == place), f"docs/{place}")

    def lead(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["target"]))
        return posixpath.relpath(_place_of(target), posixpath.dirname(place) or ".")

    return _LINK.sub(lead, markdown)


def _place_of(source: str) -> str:
    if source.startswith("docs/"):
        return source.removeprefix("docs/")
    return {**PLACES, **STANDING_FOR}.get(source, f"outside-the-site/{source}")
