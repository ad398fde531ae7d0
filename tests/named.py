"""Whether a test is there that a page or a table names as `path::name`."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent


def is_test(named: str) -> bool:
    """Whether it is, below `tests`; without `.py` and without `test_` before its name."""
    path, _, name = named.partition("::")
    file = TESTS / f"{path}.py"
    if not file.exists():
        return False
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return any(
        isinstance(each, kinds) and each.name == f"test_{name}"
        for each in ast.walk(ast.parse(file.read_text()))
    )
