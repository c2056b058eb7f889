"""A real service in its own process, with a home of its own, as a user would run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import httpx
import pytest

from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
BEST_ONLY = {"exploration": 1e12, "floor": 0.0}
"""Settings of decisions under which only the best is drawn; else sending nothing comes up now and then."""


class Service:
    """`opportune` commands on one home, and its server."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "OPPORTUNE_HOME": str(home / "state"),
            "OPPORTUNE_TEXT_VECTORS": "false",
            "OPPORTUNE_EMBEDDING_MODEL": str(home / "none"),  # `features` loads it, too: five seconds of CPU
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.children: list[subprocess.Popen[bytes]] = []
        self.clients: list[httpx.Client] = []

    def run(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "opportune", *arguments],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def done(self, *arguments: str, timeout: float = 240) -> str:
        """One command that must succeed; its standard output."""
        result = self.run(*arguments, timeout=timeout)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def background(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that runs until the test ends."""
        with open(self.home / f"{arguments[0]}.log", "ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "opportune", *arguments],
                cwd=self.home,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.children.append(child)
        return child

    def start(self, *options: str) -> None:
        """The server, answering."""
        self.process = self.background("serve", "--port", str(self.port), *options)
        for _ in range(600):
            if answers(self.url):
                return
            assert self.process.poll() is None, (self.home / "serve.log").read_text()
            time.sleep(0.05)
        raise AssertionError("the server did not come up: " + (self.home / "serve.log").read_text())

    def kill(self) -> None:
        """kill -9, and nothing tidied."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        for child in self.children:
            if child.poll() is None:
                child.terminate()
        for child in self.children:
            child.wait(20)

    def key(self, *scopes: str) -> str:
        """A new key with these scopes."""
        arguments = [part for scope in scopes for part in ("--scope", scope)]
        return self.done("keys", "create", *arguments).strip()

    def client(self, *scopes: str) -> httpx.Client:
        """An HTTP client whose key has these scopes."""
        headers = {"Authorization": f"Bearer {self.key(*scopes)}"}
        self.clients.append(httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False))
        return self.clients[-1]


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes services; all are stopped at the end."""
    made: list[Service] = []

    def make(name: str = "home", **settings: str) -> Service:
        (tmp_path / name).mkdir()
        made.append(Service(tmp_path / name, **settings))
        return made[-1]

    yield make
    for service in made:
        service.stop()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    """A running service on SQLite, empty."""
    made = make_service()
    made.start()
    return made


def answers(url: str) -> bool:
    """Whether a server is up there. By the plain client: httpx' own takes 50 ms of CPU for the certificates of each."""
    try:
        with closing(HTTPConnection(url.removeprefix("http://"), timeout=5)) as connection:
            connection.request("GET", "/health/live")
            return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False


def eventually(check: Callable[[], bool], seconds: float = 10) -> bool:
    """Waits until `check` holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.02)
    return check()
