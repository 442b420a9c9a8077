"""What the documents link to is there, and they leave out no public name, command or example."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from document_cases import DOCUMENTS, ROOT, anchors, links

import invsolve
import operators
from invsolve import peers
from invsolve.cli import _parser

LINKED = [*DOCUMENTS, ROOT / "CHANGELOG.md", *sorted((ROOT / "benchmarks" / "results").glob("*/summary.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def broken(document, text_links) -> list[str]:
    found = []
    for link in text_links:
        target, _, anchor = link.partition("#")
        path = (document.parent / target).resolve() if target else document
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            found.append(link)
    return found


@pytest.mark.parametrize("document", LINKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    assert broken(document, links(document)) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n\n[a](gone.md) [b](#here) [c](#there) [d](page.md#here) ![e](gone.png) [f](https://x.org/gone)\n"
    )
    assert broken(page, links(page)) == ["gone.md", "#there", "gone.png"]


def test_every_page_is_in_a_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^[\w/-]+$", index, flags=re.MULTILINE))
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in DOCUMENTS if "docs" in path.parts}
    assert pages - {"index"} <= listed


def described_names() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.rst"))
    return set(re.findall(r"^\.\. auto\w+:: ([\w.]+)$", text, flags=re.MULTILINE))


def test_every_public_name_is_described():
    public = {f"{module.__name__}.{name}" for module in (invsolve, operators) for name in module.__all__}
    public |= {f"invsolve.peers.{name}" for name in ("Peer", "Settings", "settings_for", "tuned_settings")}
    public |= {f"{peer.restore.__module__}.{peer.restore.__name__}" for peer in peers.PEERS.values()}
    public |= {f"{peer.settings.__module__}.{peer.settings.__name__}" for peer in peers.PEERS.values()}
    public |= {"invsolve.adapters.deepinv", "invsolve.adapters.diffusers"}  # all that is in them
    assert public - described_names() == set()


def test_every_command_is_described():
    (choices,) = (action.choices for action in _parser()._actions if action.choices)
    page = (ROOT / "docs" / "cli.rst").read_text(encoding="utf-8")
    assert set(re.findall(r"^   :path: (\w+)$", page, flags=re.MULTILINE)) == set(choices)


def test_examples_say_what_they_are_and_show_a_picture():
    assert len(EXAMPLES) >= 12
    for path in EXAMPLES:
        source = path.read_text(encoding="utf-8")
        title, line, blank, *text = ast.get_docstring(ast.parse(source), clean=True).splitlines()
        assert set(line) == {"="}, path.name
        assert len(line) == len(title), path.name
        assert blank == "", path.name
        assert text, path.name
        assert source.endswith("plt.show()\n"), path.name


def test_words_are_spelt_right():
    pytest.importorskip("codespell_lib", reason="codespell is not installed")
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = re.search(r"^WORDS := (.*)$", make, flags=re.MULTILINE)[1].split()
    paths = [str(path.relative_to(ROOT)) for word in words for path in ROOT.glob(word)]
    done = subprocess.run([sys.executable, "-m", "codespell_lib", *paths], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


def test_the_demo_downloads_no_weights_and_says_what_to_try_next():
    def shown(*more: str) -> list[str]:
        command = ["make", "-n", "--no-print-directory", "demo", *more]  # which make, running the tests, would print
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    lines = shown()
    (restoration,) = (line for line in lines if "--simulate" in line)
    assert "--no-lpips" in restoration
    assert not any("--no-lpips" in line for line in shown("LPIPS=1"))
    following = lines[next(i for i, line in enumerate(lines) if "Try next" in line) + 1 :]
    assert len(following) == 3
