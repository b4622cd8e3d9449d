"""The conventions that a machine can check (CONVENTIONS.md, marked ⚙)."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("streams", "projections", "mcp_api")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PURE = [path for path in SOURCES if path.parent.name in {"domain", "processors", "promql"}]
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
IMPURE = {"time", "random", "uuid", "secrets", "socket", "sqlite3", "os", "pathlib", "asyncio",
          "threading", "duckdb", "httpx"}  # fmt: skip


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=name)
def test_a_module_is_small_enough_to_hold(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for function in functions(ast.parse(text)):
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno < 70, function.name


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_modules_name_says_what_is_inside(path: Path) -> None:
    assert path.stem not in VAGUE


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_modules_and_public_things_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module"
    missing = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not missing


@pytest.mark.parametrize("path", PURE, ids=name)
def test_the_core_imports_nothing_that_does_io_or_reads_a_clock(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
            assert not node.module.startswith(("streams.log.sqlite", "streams.runners"))
    assert not imported & IMPURE
    assert not re.search(r"np\.random|datetime\.now|utcnow", path.read_text())


@pytest.mark.parametrize(
    "package",
    sorted({path.parent for path in SOURCES}),
    ids=name,
)
def test_a_packages_docstring_lists_its_modules(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text()), clean=False)
    assert docstring
    listed = re.findall(r"^  ([a-z_]+)/? {2,}\S", docstring, re.MULTILINE)
    tree = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    tree |= {path.parent.name for path in package.glob("*/__init__.py")}
    assert set(listed) == tree
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("path", [p for p in TESTS if p.name != "test_tidy.py"], ids=name)
def test_tests_neither_sleep_nor_mock(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\b(time|asyncio|anyio)\.sleep\((?!0\))", text)
    assert not re.search(r"unittest\.mock|MagicMock|monkeypatch\.setattr|mocker\.", text)


def test_every_wire_name_has_a_golden_file() -> None:
    codec = (ROOT / "streams/events/codec.py").read_text()
    wire_names = set(re.findall(r'^[A-Z_]+ = "([a-z_.]+\.v\d+)"$', codec, re.MULTILINE))
    assert wire_names
    golden = {path.name for path in (ROOT / "tests/golden").iterdir()}
    assert all(any(file.startswith(wire) for file in golden) for wire in wire_names)


def test_no_file_names_a_registrys_host() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    ).stdout.decode()
    files = [ROOT / file for file in listed.split("\0") if file]
    hosts = re.compile("|".join(("pypi" + r"\.org", "registry" + r"\.npmjs", "python" + "hosted")))
    for file in files:
        if file.suffix in {".py", ".md", ".toml", ".txt", ".yml", ".sh", ""} and file.is_file():
            assert not hosts.search(file.read_text(errors="replace")), file
