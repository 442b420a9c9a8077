"""The Python in the documents runs as it is printed."""

from __future__ import annotations

import pytest
from document_cases import DOCUMENTS, ROOT, python_blocks

WITH_PYTHON = [document for document in DOCUMENTS if python_blocks(document)]


def test_documents_have_python():
    names = {str(document.relative_to(ROOT)) for document in WITH_PYTHON}
    assert {"README.md", "docs/quickstart.md", "docs/howto/operator.md", "docs/howto/priors.md"} <= names


@pytest.mark.parametrize("document", WITH_PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_of_a_document_compiles(document):
    for block in python_blocks(document):
        compile(block, str(document), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("document", WITH_PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_of_a_document_runs(document):
    if document.name == "priors.md":
        pytest.importorskip("invsolve.adapters.deepinv", exc_type=ImportError)
    names: dict[str, object] = {}
    for block in python_blocks(document):
        exec(compile(block, str(document), "exec"), names)
    if document.name in ("README.md", "quickstart.md"):
        assert tuple(names["x"].shape) == (1, 3, 256, 256)
        assert tuple(names["samples"].samples.shape) == (8, 1, 3, 256, 256)
    if document.name == "priors.md":
        assert tuple(names["restored"].shape) == (1, 3, 64, 64)
