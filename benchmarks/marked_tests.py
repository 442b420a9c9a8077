"""The tests of one marker, run in a process of their own, and what became of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from lines import Row

ROOT = Path(__file__).resolve().parents[1]
VERDICT = re.compile(r"^\S+::.*? (PASSED|FAILED|ERROR|SKIPPED)\b", re.MULTILINE)
NOT_LOADED = re.compile(r"^ERROR (\S+\.py)(?= |$)", re.MULTILINE)  # in pytest's summary
ENDED = {0: "passed", 1: "failed", 5: "no such tests"}  # by pytest's exit code


def run_tests(tests: Path, marker: str, limit: float, log: Path) -> Row:
    """How many of a folder's tests passed, failed and so on within ``limit`` seconds. Their output goes to ``log``.

    A file that does not load hides none of the others. Raises ImportError without pytest.
    """
    if find_spec("pytest") is None:
        raise ImportError("pytest is not installed")
    command = [sys.executable, "-m", "pytest", str(tests), "-m", marker, "-v", "-rfE", "--tb=short"]
    command += ["--continue-on-collection-errors", "-p", "no:cacheprovider"]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as out:
        try:
            code = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path},
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=limit,
                check=False,
            ).returncode
            ended = ENDED.get(code, f"exit code {code}")
        except subprocess.TimeoutExpired:
            ended = f"stopped after {limit:.0f} s"
    text = log.read_text(encoding="utf-8", errors="replace")
    verdicts = VERDICT.findall(text)
    counts = {name.lower(): verdicts.count(name) for name in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
    not_loaded = ", ".join(NOT_LOADED.findall(text)) or None
    seconds = time.monotonic() - start
    return {"marker": marker, "ended": ended, **counts, "not loaded": not_loaded, "seconds": seconds}
