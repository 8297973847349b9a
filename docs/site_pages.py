"""Hooks of mkdocs: README, CONTRIBUTING and CHANGELOG, which lie above docs/, as pages of the site.

mkdocs calls these functions by their names; https://www.mkdocs.org/user-guide/configuration/#hooks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "index.md": "README.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
"""Pages of the site, each with its file in the repository."""
INTO_DOCS = re.compile(r"\]\(docs/")
OUT_OF_DOCS = re.compile(r"\]\(\.\./(?=CONTRIBUTING\.md|CHANGELOG\.md)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from above docs/."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with its links as they are within the site."""
    return OUT_OF_DOCS.sub("](", INTO_DOCS.sub("](", markdown))
