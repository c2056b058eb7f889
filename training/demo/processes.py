"""The demo's child processes: commands that run to their end, and services that run until they are told to stop."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from training.world.client import wait_until

COMMAND = (sys.executable, "-m", "opportune")
PR_SET_PDEATHSIG = 1
START_S, STOP_S = 60.0, 15.0


class StepFailed(RuntimeError):
    """A command or a service of the demo failed; the message says which, and where its words are."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, with these settings of Opportune's and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPPORTUNE_")}
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(part for part in (root, inherited.get("PYTHONPATH", "")) if part)
    return {**inherited, "PYTHONPATH": path, **{f"OPPORTUNE_{name}": value for name, value in settings.items()}}


def command(arguments: Sequence[str], settings: Mapping[str, str]) -> None:
    """Runs `opportune ARGUMENTS` to its end; what it prints is shown."""
    sys.stdout.flush()
    done = subprocess.run([*COMMAND, *arguments], env=environment(settings), preexec_fn=_die_with_parent())
    if done.returncode:
        raise StepFailed(f"'opportune {' '.join(arguments)[:80]}' failed (exit status {done.returncode})")


def output_of(arguments: Sequence[str], settings: Mapping[str, str], *, may_refuse: bool = False) -> str:
    """What `opportune ARGUMENTS` prints on standard output. `may_refuse`: where it ends with status 1, why it does."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if may_refuse else None,
        text=True,
        preexec_fn=_die_with_parent(),
    )
    if may_refuse and done.returncode == 1 and done.stderr.strip():
        return done.stderr.strip().splitlines()[-1].removeprefix("opportune: ")
    if done.returncode:
        raise StepFailed(f"'opportune {' '.join(arguments)}' failed (exit status {done.returncode})")
    return done.stdout.strip()


def free_port(first: int) -> int:
    """The first port from `first` on that nobody listens on."""
    for port in range(first, min(first + 200, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise StepFailed(f"no free port from {first} on; choose another with --port")


@dataclass
class Children:
    """Services that this demo started. They end with it, even if it is killed (on Linux)."""

    logs: Path
    running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    def start(self, name: str, arguments: Sequence[str], settings: Mapping[str, str]) -> None:
        """Starts `opportune ARGUMENTS`; its words go to `logs`/NAME.log."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log_of(name).open("ab") as log:
            child = subprocess.Popen(
                [*COMMAND, *arguments],
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent(),
                start_new_session=True,  # Ctrl-C reaches only the demo, which stops its children in order
            )
        self.running.append((name, child))

    def log_of(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def wait_for_api(self, name: str, url: str) -> None:
        """Until the API answers that it lives."""

        with httpx.Client(base_url=url, timeout=2, trust_env=False) as client:

            def lives() -> bool:
                self.check()
                try:
                    return client.get("/health/live").is_success
                except httpx.TransportError:
                    return False

            wait_until(lives, f"{name} to answer at {url}", START_S, pause_s=0.1)

    def check(self) -> None:
        """StepFailed when a child has ended by itself."""
        for name, child in self.running:
            if child.poll() is not None:
                words = _last_words(self.log_of(name))
                raise StepFailed(f"{name} ended with status {child.returncode}: {words} (see {self.log_of(name)})")

    def stop(self, prefix: str = "") -> None:
        """Ends those whose names begin so, the last started first."""
        ending = [pair for pair in self.running if pair[0].startswith(prefix)]
        self.running = [pair for pair in self.running if pair not in ending]
        for _, child in reversed(ending):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for _, child in reversed(ending):
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:300] if lines else "without a word"


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux the kernel ends a child when its parent is gone, also when that was killed."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before we could ask
            os._exit(1)

    return arrange
