"""Write the tables of the README and of the model card from the results in ``benchmarks/results``.

    python benchmarks/readme.py [--check]      # --check: change nothing, fail where a table is not that of the results

Each table lies between ``<!-- table NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
WITHOUT = {  # the task's baseline in words
    "sr4x": "bicubic upsampling",
    "deblur_gaussian": "the measurement",
    "deblur_motion": "the measurement",
    "inpaint_random": "nearest observed pixel",
    "inpaint_box": "nearest observed pixel",
    "denoise": "the measurement",
    "colorize": "the measurement",
}
Means = dict[tuple[str, str], tuple[float, float]]  # (task, method) -> PSNR, LPIPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    for path in (ROOT / "README.md", ROOT / "checkpoints" / "README.md"):
        text = path.read_text(encoding="utf-8")
        filled = fill(text, tables())
        if options.check and filled != text:
            parser.exit(1, f"{path}: its tables are not those of {RESULTS}\n")
        if filled != text:
            path.write_text(filled, encoding="utf-8")


def tables() -> dict[str, str]:
    """The tables by their names."""
    faces = means(RESULTS / "faces-100")
    return {
        "quality": quality(faces),
        "card": card(faces),
        "peers": first_table(RESULTS / "faces-100" / "summary.md"),
        "budgets": first_table(RESULTS / "budgets-4" / "summary.md"),
        "thousand": first_table(RESULTS / "thousand-3" / "summary.md"),
    }


def means(folder: Path) -> Means:
    entries = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["entries"]
    return {(e["task"], e["method"]): (e["psnr"]["mean"], e["lpips"]["mean"]) for e in entries}


def quality(found: Means) -> str:
    """Per task the baseline, the default prior, and the change of LPIPS from one to the other."""
    lines = ["| task | without the product | | `default`, 4 evaluations |", "|---|---|---|---|"]
    for task, words in WITHOUT.items():
        (psnr, lpips), (our_psnr, our_lpips) = found[task, "baseline"], found[task, "ncvsd"]
        change = f"{100 * (our_lpips / lpips - 1):+.0f} %".replace("-", "−")
        before, after = f"{psnr:.2f} / {lpips:.3f}", f"**{our_psnr:.2f} / {our_lpips:.3f}** ({change})"
        lines.append(f"| {task} | {words} | {before} | {after} |")
    return "\n".join(lines)


def card(found: Means) -> str:
    rows = [f"| {task} | {found[task, 'ncvsd'][0]:.2f} / {found[task, 'ncvsd'][1]:.3f} |" for task in WITHOUT]
    return "\n".join(["| task | `default` |", "|---|---|", *rows])


def first_table(path: Path) -> str:
    """The first Markdown table of a file."""
    found = re.search(r"^\|.*\|$(\n\|.*\|$)*", path.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{path}: there is no table in it")
    return found.group()


def fill(text: str, by_name: dict[str, str]) -> str:
    """A Markdown text with its marked tables replaced. Raises KeyError for a name that is no table's."""

    def replaced(match: re.Match[str]) -> str:
        return f"<!-- table {match['name']} -->\n{by_name[match['name']]}\n<!-- end -->"

    return re.sub(r"<!-- table (?P<name>\w+) -->\n.*?\n<!-- end -->", replaced, text, flags=re.DOTALL)


if __name__ == "__main__":
    main()
