"""What the tests of the documents share: the documents, their links, their Python and their commands."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "checkpoints" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "howto").glob("*.md")),
]
PROGRAMS = ("invsolve", "python", "python3", "torchrun", "make", "pip")
FENCE = re.compile(r"^(?:```|~~~|:::).*?^(?:```|~~~|:::)[^\S\n]*$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True)
class Command:
    """A command as a document prints it."""

    document: Path
    text: str  # in one line, without comment

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}: {self.text}"


def python_blocks(document: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(document: Path) -> list[Command]:
    """Those of indented blocks, and of the text where they have options, in order of appearance.

    ``...`` stands for the arguments of the last command of its name.
    """
    text = re.sub(r"^```(?:python|yaml|\{).*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    text = re.sub(r"\\\n\s*", "", text)  # continued lines
    found: list[Command] = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.splitlines()
        if all(line.startswith("    ") for line in lines if line.strip()):
            shown = [re.sub(r"\s{2,}#.*| # .*", "", line).strip() for line in lines]
        else:
            spans = SPAN.findall(" ".join(line.strip() for line in lines))
            shown = [span for span in spans if " --" in span and not span.startswith("make")]
        for line in shown:
            if line.split(" ")[0] in PROGRAMS:
                found.append(Command(document, _completed(line, found)))
    return found


def _completed(line: str, before: list[Command]) -> str:
    if "..." not in line:
        return line
    head = line.split(" ...")[0]
    name = " ".join(_program_words(head))
    for command in reversed(before):
        if " ".join(_program_words(command.text)[: len(_program_words(head))]) == name:
            rest = " ".join(_program_words(command.text)[len(_program_words(head)) :])
            return line.replace("...", rest)
    return line


def _program_words(text: str) -> list[str]:
    """A command from the word invsolve on: what ``torchrun`` starts is the same."""
    words = text.split()
    return words[words.index("invsolve") :] if "invsolve" in words else words


def anchors(document: Path) -> set[str]:
    """What may follow # in a link to a document: its headings as GitHub writes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(document: Path) -> list[str]:
    """The targets of a document's links and pictures, those to other hosts left out."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = SPAN.sub("", text)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"\w+:", target)]
