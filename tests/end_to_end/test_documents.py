"""What the documents tell is there: commands and their options, variables, settings, metrics, files, code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
import typer

from opportune import app
from service.settings import Settings
from service.telemetry import registry
from service.wrong_settings import OTHER_VARIABLES, unknown_variables

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = [f"{folder}*.md" for folder in ("", "docs/", "mlflow/", "training/**/", "service/starter/")]
DOCUMENTS = sorted(path for pattern in (*PATTERNS, "service/starter/*.toml") for path in ROOT.glob(pattern))
COMMANDS: Any = typer.main.get_command(app)
everywhere = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> Iterator[list[str]]:
    """The words after `opportune`: of lines in code blocks, and of what stands between backticks."""
    lines = [line for block in blocks(text, "(?:sh)?") for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text)
    for line in lines:
        found = re.search(r"(?:^|\$\()(?:\.venv/bin/)?opportune ([a-z][^;&)|]*)", line)
        if found:
            yield shlex.split(found[1], comments=True)


@everywhere
def test_commands_and_their_options_are_there(document: Path) -> None:
    for words in commands(document.read_text()):
        command = COMMANDS
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, f"there is no command {words[0]}"
            command = command.commands[words.pop(0)]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


@everywhere
def test_variables_are_there(document: Path) -> None:
    named = set(re.findall(r"OPPORTUNE_(?!BENCH)[A-Z_]+", document.read_text()))
    assert unknown_variables(named) == {}


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])  # others name columns of tables in the same way
def test_settings_are_there(name: str) -> None:
    for told in re.findall(r"`([a-z_]+\.[a-z_]+)`", (ROOT / name).read_text()):
        table, _, name = told.partition(".")
        fields = getattr(getattr(Settings.model_fields.get(table), "annotation", None), "model_fields", None)
        assert fields is None or name in fields, told


def test_every_variable_that_is_no_setting_is_told_in_the_settings_file() -> None:
    told = (ROOT / "service" / "starter" / "opportune.toml").read_text()
    assert [name for name in OTHER_VARIABLES if f"OPPORTUNE_{name}" not in told] == []


@everywhere
def test_metrics_and_files_are_there(document: Path) -> None:
    text = document.read_text()
    metrics = {metric.name for metric in registry.collect()}
    for told in re.findall(r"`(opportune_[a-z_]+)\*?`", text):
        assert any(name.startswith(told.removesuffix("_total")) for name in metrics), told
    for link, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = document.parent / link if link else document
        assert target.exists(), link
        assert not heading or heading in headings(target.read_text()), heading
    for told in re.findall(r"`([a-z_]+/[\w./]+\.(?:py|c|toml|md|ipynb))`", text):
        assert "NAME" in told or any((folder / told).exists() for folder in (ROOT, ROOT / "service")), told


def headings(text: str) -> list[str]:
    """What links to headings name, as GitHub makes it."""
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)]


def test_each_decision_stands_once_and_in_the_index_by_subject() -> None:
    index, table = (ROOT / "DECISIONS.md").read_text().split("| # | choice | why |")
    numbers = re.findall(r"^\| (\d+b?) \|", table, re.M)
    assert len(set(numbers)) == len(numbers)
    spans = re.findall(r"(\d+)b? to (\d+)b?", index)
    told = {int(number) for number in re.findall(r"\d+", index)}
    told |= {number for first, last in spans for number in range(int(first), int(last))}
    assert {int(number.removesuffix("b")) for number in numbers} <= told


def test_what_who_adds_something_is_told_is_there() -> None:
    """Files by their whole path or, below a folder that was named, by their name alone; and what stands in them."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    folders = ("features", "models", "training", "service", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]

    def found(told: str) -> list[Path]:
        return [ROOT / told] if (ROOT / told).exists() else [path for path in files if path.name == told]

    named = re.findall(r"`([\w./]+\.(?:py|toml|c))`", text)
    assert [told for told in named if "NAME" not in told and not found(told)] == []
    told_of = re.findall(r"`([A-Za-z_]+)` (?:of|in)(?: the starter's)? `([\w./]+\.py)`", text)
    assert len(told_of) > 20
    for name, file in told_of:
        assert any(re.search(rf"\b{name}\b", path.read_text()) for path in found(file)), (name, file)


@everywhere
def test_python_in_documents_compiles_and_imports_what_is_there(document: Path) -> None:
    for block in blocks(document.read_text(), "python"):
        compile(block, str(document), "exec")
        exec("\n".join(re.findall(r"^from training.*", block, re.MULTILINE)), {})


class Failed(Exception):
    """Temporal's `ApplicationError`, as far as the document uses it."""

    def __init__(self, told: str, *, non_retryable: bool, next_retry_delay: timedelta | None) -> None:
        super().__init__(told)
        self.again = not non_retryable, next_retry_delay


@pytest.mark.parametrize(
    ("status", "wait", "again"),
    [
        (409, None, (True, None)),
        (410, None, (False, None)),  # erased: asked again for ever, as of Temporal's own policy
        (404, None, (False, None)),
        (403, None, (False, None)),  # of a proxy, which tells no problem
        (503, "5", (True, timedelta(seconds=5))),
        (503, "Wed, 21 Oct 2026 07:28:00 GMT", (True, None)),
    ],
)
def test_the_activity_for_temporal_asks_again_where_that_helps(
    monkeypatch: pytest.MonkeyPatch, status: int, wait: str | None, again: tuple[bool, timedelta | None]
) -> None:
    info = SimpleNamespace(workflow_run_id="run", activity_id="1")
    activity = SimpleNamespace(defn=lambda function: function, info=lambda: info)
    fakes: dict[str, Any] = {
        "temporalio": {"activity": activity},
        "temporalio.exceptions": {"ApplicationError": Failed},
    }
    for name, parts in fakes.items():
        module = ModuleType(name)
        vars(module).update(parts)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("DECISIONS_URL", "http://decisions")
    monkeypatch.setenv("DECISIONS_KEY", "op_key")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, text="<html>no", headers={"Retry-After": wait} if wait else {})

    [code] = [block for block in blocks((ROOT / "docs/integrations.md").read_text(), "python") if "temporalio" in block]
    parts = {}
    exec(code, parts)
    parts["httpx"] = SimpleNamespace(AsyncClient=partial(httpx.AsyncClient, transport=httpx.MockTransport(answer)))
    with pytest.raises(Failed, match=f"^{status}: <html>no") as failed:
        asyncio.run(parts["decide"]("c42"))
    assert failed.value.again == again
    assert [request.headers["idempotency-key"] for request in seen] == ["run-1"]


def test_the_workflow_for_n8n_is_whole_and_is_what_the_document_says() -> None:
    workflow = json.loads((ROOT / "docs/n8n.json").read_text())
    nodes = {node["name"]: node for node in workflow["nodes"]}
    links = [
        (start, link["node"]) for start, ways in workflow["connections"].items() for way in ways["main"] for link in way
    ]
    assert {name for link in links for name in link} == set(nodes)
    calls = [node["parameters"] for node in nodes.values() if node["type"].endswith("httpRequest")]
    assert [call["url"] for call in calls] == ["http://localhost:8000/v1/decisions", "http://localhost:8000/v1/track"]
    told = (ROOT / "docs/integrations.md").read_text()
    [key] = calls[0]["headerParameters"]["parameters"]
    for said in (key["name"], key["value"].removeprefix("="), calls[0]["jsonBody"].removeprefix("=")):
        assert f"`{said}`" in told
    assert not re.search(r"op_[\w-]{20}|whsec_", json.dumps(workflow)), "a secret"


def test_no_line_of_the_help_is_cut_off() -> None:
    shown = subprocess.run(
        [sys.executable, "opportune.py", "--help"], cwd=ROOT, env={**os.environ, "COLUMNS": "80"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert [line for line in shown.splitlines() if line.endswith("...") and not line.startswith("Usage")] == []


def test_what_make_installs_keeps_dependencies_from_calling_home(tmp_path: Path) -> None:
    """Also of commands that are not ours, such as `mlflow server`."""
    (tmp_path / "quiet.pth").write_text((ROOT / "quiet.pth").read_text())
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "FEAST_USAGE": "False"}
    told = "import os, site, sys; site.addsitedir(sys.argv[1]); print(*map(os.environ.get, sys.argv[2:]))"
    said = subprocess.run(
        [sys.executable, "-S", "-c", told, str(tmp_path), *quiet],
        env={name: value for name, value in os.environ.items() if name not in quiet},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == list(quiet.values())
