from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from service import serve
from service.count_files import FIRST, CountFile
from service.serve import PROTOCOL, _claim_port, counted_together, listen, raise_open_files, sweep_counts
from service.settings import Settings
from service.telemetry import TOGETHER, forget_the_dead
from tests.conftest import free_port
from tests.end_to_end.conftest import Service, eventually


@pytest.fixture
def _limits_again() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_limits_again")
def test_room_for_many_connections_is_asked_for() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    assert raise_open_files(1_000) == 1_000
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1_000, hard)
    assert raise_open_files(600) == 1_000, "it is never lowered"


@pytest.mark.usefixtures("_limits_again")
def test_who_may_open_few_files_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """With a hard limit of 1,024 the connections beyond it were reset, and nothing said why."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    monkeypatch.setattr(serve, "FEW_FILES", 1_000)
    raise_open_files(1_000)
    assert not caplog.messages
    monkeypatch.setattr(serve, "FEW_FILES", 1_001)
    raise_open_files(1_000)
    assert "open 1000 files" in caplog.text


def test_decisions_are_answered_before_asgi_where_uvicorns_parser_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(serve.uvicorn, "run", lambda **options: given.append(options))
    monkeypatch.setattr(serve, "run_workers", lambda config: given.append(vars(config)))
    listen(Settings())
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    listen(Settings(), workers=2)
    assert [(one["http"], one["workers"], one["access_log"]) for one in given] == [
        (PROTOCOL, 1, False),
        ("auto", 2, False),
    ]


def test_workers_none_of_which_comes_up_end_the_service(tmp_path: Path) -> None:
    """They were started again twice a second, for good, while the port was held."""
    (tmp_path / "features.toml").write_text("[[feature]]\nbroken =\n")
    ended = subprocess.run(
        [sys.executable, "-c", "from service.serve import listen; from service.settings import Settings\n"
         f"if __name__ == '__main__': listen(Settings(port={free_port()}), workers=2)"],
        env=os.environ | {"OPPORTUNE_HOME": str(tmp_path), "OPPORTUNE_FEATURES_FILE": str(tmp_path / "features.toml")},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "no worker came up" in ended.stderr
    assert ended.stderr.count("DeclarationError: ") >= 4


def test_each_of_several_workers_logs_as_one_alone_does(tmp_path: Path) -> None:
    """They told warnings without their time, of nothing less, and each as often as it came."""
    service = Service(tmp_path)
    try:
        service.start("--workers", "2")
        line, log = '"logger":"uvicorn.error","message":"Application startup complete."', tmp_path / "serve.log"
        assert eventually(lambda: log.read_text().count(line) == 2, 60)
    finally:
        service.stop()


COUNTS = """
import sys
from service.telemetry import DECISIONS, LOOP_SEEN, REBUILDS, SPOOL_WAITING, count_request, exposition
many = int(sys.argv[1])
DECISIONS.labels("model").inc(many)
count_request("GET", "/x", 200, 0.002)
SPOOL_WAITING.inc(many)
REBUILDS.set(many)
print(exposition().decode())
"""


def test_metrics_of_one_worker_are_those_of_all() -> None:
    with counted_together(2):
        told = [
            subprocess.run([sys.executable, "-c", COUNTS, many], capture_output=True, text=True, check=True).stdout
            for many in ("2", "3")  # the first has ended when the second counts
        ]
    assert TOGETHER not in os.environ
    assert 'opportune_decisions_total{arm="model"} 2.0' in told[0]
    assert 'opportune_decisions_total{arm="model"} 5.0' in told[1]
    assert 'opportune_http_request_seconds_bucket{le="0.0025",route="/x"} 2.0' in told[1]
    assert "# HELP opportune_decisions_total Decisions by arm" in told[1]
    assert "opportune_spool_waiting 3.0" in told[1], "nobody waits for what a dead worker kept"
    assert "opportune_features_waiting 3.0" in told[1], "the database's, as it told this worker last"


FULL = """
import errno, os, sys
rest = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
try:
    while os.write(rest, bytes(4_096)):
        pass
except OSError as full:
    assert full.errno == errno.ENOSPC
from service.telemetry import DECISIONS, count_request, exposition
for number in range(1_000):
    count_request("GET", f"/{number}", 200, 0.002)
DECISIONS.labels("model").inc()
print(exposition().decode())
"""


def test_who_tidies_temporary_files_leaves_counts_alone_and_metrics_are_told_without_them() -> None:
    """systemd-tmpfiles removes what is ten days old, and leaves a folder alone that somebody has locked (flock)."""
    with counted_together(2):
        folder = os.open(os.environ[TOGETHER], os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(folder)
        shutil.rmtree(os.environ[TOGETHER])  # others do not look
        told = subprocess.run([sys.executable, "-c", COUNTS, "2"], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert 'opportune_decisions_total{arm="model"} 2.0' in told.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_of_temporary_files_ends_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They counted in files with holes: to write into one is the end of a process (SIGBUS), again and again."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        with counted_together(2):
            command = [sys.executable, "-c", FULL, str(tmp_path / "rest")]
            ended = subprocess.run(command, capture_output=True, text=True)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
    assert ended.returncode == 0, ended.stderr
    assert 'opportune_decisions_total{arm="model"} 1.0' in ended.stdout
    assert 'opportune_http_requests_total{method="GET",route="/999",status="200"} 1.0' in ended.stdout


@pytest.mark.parametrize("room", [0, 1, 3])
def test_counts_that_find_no_room_go_on_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """`room`: how often the disk has some."""
    fill, asked = os.posix_fallocate, count()

    def until_full(descriptor: int, offset: int, length: int) -> None:
        if next(asked) >= room:
            raise OSError(errno.ENOSPC, "no space")
        fill(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", until_full)
    file = tmp_path / "counter_1.db"
    counts = CountFile(str(file))
    for number in range(5_000):
        counts.write_value(f"a series with a name of its own, {number}", float(number), 0.0)
    kept = [value for _, value, _ in counts.read_all_values()]
    counts.close()
    assert kept == [float(number) for number in range(5_000)]
    assert file.exists() == (room > 0)
    if room:
        told = os.stat(file)
        assert told.st_blocks * 512 >= told.st_size == FIRST << room - 1, "no holes"


SERVED = """
import sys, time
from service.serve import counted_together
with counted_together(2):
    print("counting", flush=True)
    time.sleep(600)
"""


def test_folders_of_killed_services_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folders() -> set[str]:
        return {path.name for path in tmp_path.glob("opportune-metrics-*")}

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "opportune-metrics-elses").mkdir()  # without a lock: who holds it cannot be told
    with subprocess.Popen([sys.executable, "-c", SERVED], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        service.stdout.readline()
        left = folders()
        assert len(left) == 2
        with counted_together(2):
            assert left < folders(), "one that runs is left alone"
        service.kill()
    assert folders() == left
    with counted_together(1):
        assert folders() == {"opportune-metrics-elses"}


def test_one_worker_needs_no_folder_for_its_counts() -> None:
    with counted_together(1):
        assert TOGETHER not in os.environ


def test_who_cannot_listen_is_told_what_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="choose another with --port"):
            _claim_port("127.0.0.1", port, patience_s=0)
        with pytest.raises(OSError, match="name an address of this machine with --host"):
            _claim_port("192.0.2.1", port)


def test_a_port_that_a_killed_service_still_holds_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port, waited = held.getsockname()[1], []

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 2:
                held.close()

        monkeypatch.setattr(serve, "sleep", sleep)
        _claim_port("127.0.0.1", port, patience_s=30)
    assert len(waited) == 2
    assert [one.getMessage() for one in caplog.records] == [f"127.0.0.1:{port} is taken; waiting up to 30 s for it"]


@pytest.mark.parametrize("gone", [ProcessLookupError, PermissionError])
def test_a_dead_workers_number_may_be_somebody_elses(
    gone: type[OSError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(pid: int, _: int) -> None:
        if pid == 7:
            raise gone

    monkeypatch.setattr("os.kill", kill)
    for name in ("gauge_livesum_7.db", "gauge_livesum_8.db", "counter_7.db"):
        (tmp_path / name).touch()
    forget_the_dead(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["counter_7.db", "gauge_livesum_8.db"]


def test_a_service_that_is_told_to_stop_leaves_no_process_behind(tmp_path: Path) -> None:
    """What fetches models went on for seconds in a home that was taken for one that nothing uses."""
    port = free_port()
    service = subprocess.Popen(
        [sys.executable, "-P", "-m", "opportune", "serve", "--port", str(port)],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OPPORTUNE_HOME": str(tmp_path),
            "OPPORTUNE_TEXT_VECTORS": "false",
        },
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    with service:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert service.poll() is None
            time.sleep(0.05)
        tasks = Path(f"/proc/{service.pid}/task").glob("*/children")
        started = [pid for task in tasks for pid in task.read_text().split()]
        assert started
        service.terminate()
        assert service.wait(20) == 0
        assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def test_counts_of_another_user_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all may write, a pipe by the name of the lock let a start wait for good."""
    folder = tmp_path / "opportune-metrics-theirs"
    folder.mkdir()
    (folder / "lock").touch()
    monkeypatch.setattr("service.serve.gettempdir", lambda: str(tmp_path))
    with monkeypatch.context() as other:
        own = os.getuid()
        other.setattr("os.getuid", lambda: own + 1)
        sweep_counts()
    assert folder.exists()
    sweep_counts()
    assert not folder.exists()
