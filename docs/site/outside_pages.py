"""A hook of mkdocs: pages that lie outside docs/ are part of the site, and links between all pages lead there.

A link is written as it works in the repository: CONTRIBUTING.md links to docs/data.md, and docs/data.md to
../CONTRIBUTING.md. In the site both lie in one folder, so every link is rewritten by what it names in the repository.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
    **{str(path.relative_to(ROOT)): f"measured/{path.name}" for path in ROOT.glob("benchmarks/results/*.md")},
}
"""Place in the repository -> place in the site."""

LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")


def on_config(config: Any) -> Any:
    """List the printed benches in the appendix, the last part of the navigation."""
    (appendix,) = config.nav[-1].values()
    benches = [uri for uri in OUTSIDE.values() if uri.startswith("measured/")]
    appendix += [{f"Bench: {Path(uri).stem}": uri} for uri in sorted(benches)]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside docs/."""
    for place, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the relative links of a page."""
    here = page.file.src_uri
    places = {uri: place for place, uri in OUTSIDE.items()}
    folder = posixpath.dirname(places.get(here, f"docs/{here}"))

    def in_site(found: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(folder, found[1]))
        uri = OUTSIDE.get(place, place.removeprefix("docs/"))
        return posixpath.relpath(uri, posixpath.dirname(here) or ".")

    return LINK.sub(in_site, markdown)
