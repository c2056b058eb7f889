from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.demo import processes
from training.demo.processes import Children, StepFailed, command, environment, free_port, output_of
from training.world.client import wait_until

OPPORTUNE = """
import http.server, os, sys, time
what = sys.argv[1]
if what == "say":
    print(os.environ["OPPORTUNE_HOME"])
elif what == "fail":
    print("no such model", file=sys.stderr)
    sys.exit(1)
elif what == "sleep":
    time.sleep(60)
elif what == "serve":
    class Live(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
        def log_message(self, *_):
            pass
    http.server.HTTPServer(("127.0.0.1", int(os.environ["OPPORTUNE_PORT"])), Live).serve_forever()
"""


@pytest.fixture(autouse=True)
def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "opportune_stand_in.py"
    script.write_text(OPPORTUNE)
    monkeypatch.setattr(processes, "COMMAND", (sys.executable, str(script)))


def test_only_the_given_settings_reach_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPPORTUNE_DATABASE_URL", "postgresql://production")
    given = environment({"HOME": "/somewhere"})
    assert {name: value for name, value in given.items() if name.startswith("OPPORTUNE_")} == {
        "OPPORTUNE_HOME": "/somewhere"
    }
    assert output_of(["say"], {"HOME": "/here"}) == "/here"


def test_a_failed_command_says_which() -> None:
    with pytest.raises(StepFailed, match=r"'opportune fail' failed \(exit status 1\)"):
        command(["fail"], {})
    with pytest.raises(StepFailed, match="'opportune fail'"):
        output_of(["fail"], {})
    assert output_of(["fail"], {}, may_refuse=True) == "no such model"


def test_a_taken_port_leads_to_the_next() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port(port) < port + 200


def test_a_service_is_waited_for_and_stopped(tmp_path: Path) -> None:
    children = Children(tmp_path / "logs")
    port = free_port(20_000)
    children.start("api", ["serve"], {"PORT": str(port)})
    children.wait_for_api("the API", f"http://127.0.0.1:{port}")
    process = children.running[0][1]
    children.check()
    children.stop("world")
    assert process.poll() is None
    children.stop()
    assert process.poll() is not None
    assert children.running == []


def test_a_service_that_ends_by_itself_is_named_with_its_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path / "logs")
    children.start("api", ["fail"], {})
    children.running[0][1].wait(20)
    with pytest.raises(StepFailed, match="api ended with status 1: no such model"):
        children.check()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux's")
def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    parent = f"""
import sys, time
from pathlib import Path
from training.demo import processes
processes.COMMAND = {processes.COMMAND!r}
children = processes.Children(Path({str(tmp_path)!r}))
children.start("api", ["sleep"], {{}})
print(children.running[0][1].pid, flush=True)
time.sleep(60)
"""
    root = str(Path(processes.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    ) as started:
        assert started.stdout is not None
        child = int(started.stdout.readline())
        assert _runs(child)
        started.kill()
    wait_until(lambda: not _runs(child), "the child to end", 10)


def _runs(pid: int) -> bool:
    time.sleep(0.01)
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
