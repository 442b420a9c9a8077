"""Write the tables of the README, of the model card and of the pages from the results in ``benchmarks/results``.

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
PAGES = ("README.md", "checkpoints/README.md", "docs/results.md", "docs/settings.md")
WITHOUT = {  # the task's baseline in words
    "sr4x": "bicubic upsampling",
    "deblur_gaussian": "the measurement",
    "deblur_motion": "the measurement",
    "inpaint_random": "nearest observed pixel",
    "inpaint_box": "nearest observed pixel",
    "denoise": "the measurement",
    "colorize": "the measurement",
}
SIMPLE = ("bicubic", "nearest", "gray", "measurement")  # baselines that are no method, the first that a task has
DOMAINS = {"faces": "faces", "photographs": "kodak"}  # in words: in folders' names
Means = dict[tuple[str, str], tuple[float, float]]  # (task, method) -> PSNR, LPIPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    for path in (ROOT / page for page in PAGES):
        text = path.read_text(encoding="utf-8")
        filled = fill(text, tables())
        if options.check and filled != text:
            parser.exit(1, f"{path}: its tables are not those of {RESULTS}\n")
        if filled != text:
            path.write_text(filled, encoding="utf-8")


def tables() -> dict[str, str]:
    """The tables by their names; ``kodak`` where it has been measured."""
    faces, photographs = means(RESULTS / "faces-100"), RESULTS / "kodak-4"
    measured = {"kodak": kodak(means(photographs))} if photographs.is_dir() else {}
    return measured | {
        "quality": quality(faces),
        "card": card(faces),
        "peers": first_table(RESULTS / "faces-100" / "summary.md"),
        "budgets": first_table(RESULTS / "budgets-4" / "summary.md"),
        "thousand": first_table(RESULTS / "thousand-3" / "summary.md"),
        "ablation": ablation(first_table(RESULTS / "ablation" / "summary.md")),
        "coverage": coverage({words: RESULTS / f"calibration-{name}-3" for words, name in DOMAINS.items()}),
        "evaluations": evaluations(means(RESULTS / "evaluations-faces-3")),
    }


def means(folder: Path) -> Means:
    return {(e["task"], e["method"]): (e["psnr"]["mean"], e["lpips"]["mean"]) for e in entries(folder)}


def entries(folder: Path) -> list[dict]:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))["entries"]


def quality(found: Means) -> str:
    """Per task the baseline, the default prior, and the change of LPIPS from one to the other."""
    lines = ["| task | without the product | | `default`, 4 evaluations |", "|---|---|---|---|"]
    for task, words in WITHOUT.items():
        (psnr, lpips), (our_psnr, our_lpips) = found[task, "baseline"], found[task, "ncvsd"]
        change = f"{100 * (our_lpips / lpips - 1):+.0f} %".replace("-", "−")
        before, after = f"{psnr:.2f} / {lpips:.3f}", f"**{our_psnr:.2f} / {our_lpips:.3f}** ({change})"
        lines.append(f"| {task} | {words} | {before} | {after} |")
    return "\n".join(lines)


def kodak(found: Means) -> str:
    """Per task the simplest baseline, the classical method of lowest LPIPS, and the default prior; the best bold."""
    lines = ["| task | without a method | best classical method | `default`, 4 evaluations |", "|---|---|---|---|"]
    for task in WITHOUT:
        of_task = {method: figures for (name, method), figures in found.items() if name == task}
        ours, baselines = of_task.pop("ncvsd"), {m.removeprefix("baseline:"): f for m, f in of_task.items()}
        simple = next(name for name in SIMPLE if name in baselines)
        classical = min(baselines.keys() - set(SIMPLE), key=lambda name: baselines[name][1])
        shown = [(f"{simple}: ", baselines[simple]), (f"{classical}: ", baselines[classical]), ("", ours)]
        lowest = min(lpips for _, (_, lpips) in shown)
        cells = [task]
        for name, (psnr, lpips) in shown:
            bold = "**" if lpips == lowest else ""
            cells.append(f"{name}{bold}{psnr:.2f} / {lpips:.3f}{bold}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def card(found: Means) -> str:
    rows = [f"| {task} | {found[task, 'ncvsd'][0]:.2f} / {found[task, 'ncvsd'][1]:.3f} |" for task in WITHOUT]
    return "\n".join(["| task | `default` |", "|---|---|", *rows])


def coverage(folders: dict[str, Path]) -> str:
    """How often the truth lies within the samples' range, a row a folder."""
    lines = [f"| | {' | '.join(WITHOUT)} |", "|---" * (1 + len(WITHOUT)) + "|"]
    for words, folder in folders.items():
        found = {entry["task"]: entry["within"]["mean"] for entry in entries(folder)}
        lines.append(f"| {words} | {' | '.join(f'{100 * found[task]:.0f} %' for task in WITHOUT)} |")
    return "\n".join(lines)


def evaluations(found: Means) -> str:
    """LPIPS by network evaluations, and its mean over the tasks."""
    lines = [f"| evaluations | {' | '.join(WITHOUT)} | mean |", "|---" * (2 + len(WITHOUT)) + "|"]
    for method in dict.fromkeys(method for _, method in found):
        lpips = [found[task, method][1] for task in WITHOUT]
        cells = [f"{value:.4f}" for value in (*lpips, sum(lpips) / len(lpips))]
        lines.append(f"| {method.partition(':')[2]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ablation(table: str, evaluations: int = 4) -> str:
    """Of each setting the task where it buys the most LPIPS, with so many evaluations; the largest first."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    costs: dict[str, tuple[float, str, str]] = {}
    for setting, task, steps, lpips, psnr, _ in rows:
        cost = float(lpips.rstrip("%"))
        if int(steps) == evaluations and " " not in setting and cost > costs.get(setting, (0.0,))[0]:
            costs[setting] = cost, task, psnr.replace("-", "−")
    lines = [f"| without | costs most at, with {evaluations} evaluations | LPIPS | PSNR |", "|---|---|---|---|"]
    for setting, (cost, task, psnr) in sorted(costs.items(), key=lambda item: -item[1][0]):
        lines.append(f"| `{setting}` | {task} | {cost:+.0f} % | {psnr} |")
    return "\n".join(lines)


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
