"""Pages made of files that lie elsewhere in the repository, and links to those files turned into links to the pages.

A link such as `../CONTRIBUTING.md` leads somewhere wherever the text is read: on a page that shows the repository, and
here.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
LISTED = {"CHANGELOG.md": "changes", "CONTRIBUTING.md": "contributing", "checkpoints/README.md": "model-card"}
PAGES = {  # of docs/repository/, by the files they are made of; those not listed in a table of contents are linked to
    **{path.name: path.stem.lower() for path in ROOT.glob("*.md") if path.name != "README.md"},
    **LISTED,
    **{
        path.relative_to(ROOT).as_posix(): path.parent.name
        for path in sorted((ROOT / "benchmarks" / "results").glob("*/summary.md"))
    },
}
LINK = re.compile(r"\]\((?P<target>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", lambda app, config: write_pages(Path(app.srcdir) / "repository"))
    app.connect("source-read", _relink)
    return {"parallel_read_safe": True}


def write_pages(folder: Path) -> None:
    """Write what has changed, so that the rest is not built again."""
    folder.mkdir(exist_ok=True)
    for source, name in PAGES.items():
        page, text = folder / f"{name}.md", page_text(source, name)
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def page_text(source: str, name: str) -> str:
    """The text of a file, its links as they are from `docs/repository/`; with a heading where it has none."""
    text = (ROOT / source).read_text(encoding="utf-8")
    if not text.startswith("# "):
        text = f"# {name.replace('-', ' ')}\n\n{text}"
    if source not in LISTED:
        text = f"---\norphan: true\n---\n\n{text}"

    def moved(match: re.Match[str]) -> str:
        target = (ROOT / source).parent / match["target"]
        return f"](../../{target.resolve().relative_to(ROOT).as_posix()}{match['anchor'] or ''})"

    return LINK.sub(moved, text)


def _relink(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = relinked(source[0], (Path(app.srcdir) / name).parent)


def relinked(text: str, folder: Path) -> str:
    """The Markdown text of a page in `folder` with links to `PAGES` in place of those to the files."""

    def replaced(match: re.Match[str]) -> str:
        target = (folder / match["target"]).resolve()
        page = PAGES.get(target.relative_to(ROOT).as_posix()) if target.is_relative_to(ROOT) else None
        return f"](/repository/{page}.md{match['anchor'] or ''})" if page else match[0]

    return LINK.sub(replaced, text)
