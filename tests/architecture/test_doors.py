"""What import-linter cannot say: SQL stays in `service/storage` and in files named `*_store.py`; time in the clock."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def modules(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def test_sql_stays_in_stores() -> None:
    outside = [
        str(path.relative_to(ROOT))
        for path in modules("service", "models", "training")
        if not path.stem.endswith("_store")
        and "storage" not in path.relative_to(ROOT).parts
        and any(name.split(".")[0] == "sqlalchemy" for name in imports_of(path))
    ]
    assert outside == []


def test_the_service_asks_its_clock_for_the_time() -> None:
    asking = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules("service")
        if path.name != "clock.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"now", "utcnow", "today"}
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"datetime", "date"}
    ]
    assert asking == []


def test_the_folder_mlflow_does_not_shadow_the_library() -> None:
    assert not (ROOT / "mlflow" / "__init__.py").exists()
