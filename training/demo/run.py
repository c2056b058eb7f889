"""`opportune demo`: real data in, every model trained, decisions in words, a world that shows the lift, a report."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import orjson

from training.demo import homes, report, showcase
from training.demo.complete_journey import ZONE, Manifest, convert, read_manifest
from training.demo.processes import Children, StepFailed, command, free_port, output_of
from training.demo.simulated import CUSTOMERS, Simulation
from training.demo.speak import Speaker
from training.demo.steps import Steps
from training.demo.summary import print_summary
from training.demo.whole_files import write_json, write_text
from training.world.client import Api
from training.world.drive import Plan

VERSION = 1
MODELS = ("lead", "churn", "winback", "send-time", "next-offer")
JOURNEY, EXPERIMENT = "winback", "winback-hour"


def run_demo(home: Path, port: int = 8000, exit_after: bool = False) -> None:
    """Does every step that is not done yet, prints the report, and serves until it is told to stop.

    A second run, also after a kill at any point, goes on where the last one ended and comes to the same result.

    Raises:
        StepFailed: a step failed; what was done before it is kept.
    """
    demo = Demo(home.absolute(), port)
    _end_on_termination()
    try:
        with suppress(KeyboardInterrupt):
            demo.run(exit_after)
    finally:
        demo.children.stop()


@dataclass
class Demo:
    """One run of the demo in a home folder. Everything but the models' home itself lies in `home`/demo."""

    home: Path
    wanted_port: int = 8000
    plan: Plan = field(default_factory=Plan)
    customers: int = CUSTOMERS
    speaker: Speaker = field(default_factory=Speaker)

    def __post_init__(self) -> None:
        self.folder = self.home / "demo"
        self.children = Children(self.folder / "logs")

    def run(self, exit_after: bool) -> None:
        """All steps, the report, and then serving."""
        began = time.monotonic()
        self._refuse_a_home_in_use()
        steps = Steps(self.folder / "steps", self.speaker, f"demo-{VERSION}-{_package_version()}")
        manifest = self._data(steps)
        settings = self._settings()
        counts = self._prepare(steps, manifest, settings)
        url = self._serve(settings)
        with Api(url, self._key(settings)) as api:
            shown = self._show(steps, api, manifest, counts["models"])
        world = self._world(steps)
        found = self._report(manifest, counts, shown, world, steps, url, time.monotonic() - began)
        write_json(self.home / "reports" / "demo.json", found)
        print_summary(self.speaker, found)
        if not exit_after:
            self._stay(settings, url)

    def _refuse_a_home_in_use(self) -> None:
        if (self.home / "state.db").exists() and not self.folder.exists():
            raise StepFailed(f"{self.home} holds data of your own; set OPPORTUNE_HOME to an empty folder for the demo")

    # Data, features, models

    def _data(self, steps: Steps) -> Manifest:
        data = self.folder / "data"
        today = datetime.now(ZoneInfo(ZONE)).date()
        if (known := read_manifest(data)) is not None:
            age = (today - datetime.fromisoformat(known.last_day).date()).days
            if age > 28:
                self.speaker.say(f"The demo's year ended {age} days ago; delete {self.home} to move it to the present.")

        def work() -> dict[str, Any]:
            made = convert(data, today, lambda name, done, of: self.speaker.detail(f"{done}/{of} {name}"))
            return {"weeks": made.weeks, "transactions": made.transactions}

        if known is None:
            steps.forget("data")
        steps.run("data", "Complete Journey as events and offers", {}, work)
        made = read_manifest(data)
        if made is None:
            raise StepFailed(f"{data} was changed while the demo ran; delete {self.folder} and start again")
        return made

    def _settings(self) -> dict[str, str]:
        port = free_port(self.wanted_port)
        if port != self.wanted_port:
            self.speaker.say(f"Port {self.wanted_port} is taken; the next free one is {port}.")
        return homes.settings_of(self.home, homes.HOUSEHOLDS, port)

    def _prepare(self, steps: Steps, manifest: Manifest, settings: Mapping[str, str]) -> dict[str, Any]:
        """Ingests, builds features and trains, as of the midnight that ends the data. Returns what was counted."""
        data = self.folder / "data"
        last = datetime.fromisoformat(manifest.last_day)
        as_of = last.replace(hour=23, minute=59, second=59, tzinfo=ZoneInfo(ZONE)).astimezone(UTC).isoformat()
        inputs = {"weeks": manifest.weeks, "as_of": as_of}

        def ingest() -> dict[str, Any]:
            paths = [str(data / name) for name in manifest.files]
            command(["ingest", *paths, "--offers", str(data / manifest.offers_file)], settings)
            return {}

        def features() -> dict[str, Any]:
            command(["features", "--as-of", as_of], settings)
            return {"count": _feature_count(), "customers": manifest.households, "as_of": as_of}

        def train() -> dict[str, Any]:
            return self._train(as_of, settings)

        steps.run("ingest", "Read it by `opportune ingest`", inputs, ingest)
        counts = steps.run("features", "Build features", inputs, features)
        models = steps.run("train", "Train, register and judge five models", inputs, train)
        return {"features": counts, "models": models}

    def _train(self, as_of: str, settings: Mapping[str, str]) -> dict[str, Any]:
        """Trains the models that an earlier, interrupted run as of the same time has not; returns all results."""
        results, begun = self.home / "reports" / "training", self.folder / "training_as_of"
        if not begun.exists() or begun.read_text() != as_of:
            for old in results.glob("*.json"):
                old.unlink()
            write_text(begun, as_of)
        missing = [name for name in MODELS if not (results / f"{name}.json").exists()]
        if missing:
            command(["train", *missing, "--as-of", as_of], settings)
        return showcase.read_results(self.home, MODELS)

    # Serving

    def _serve(self, settings: Mapping[str, str]) -> str:
        url = f"http://127.0.0.1:{settings['PORT']}"
        self.children.start("api", ["serve"], settings)
        self.children.wait_for_api("the API", url)
        self.speaker.say(f"The API answers at {url}")
        return url

    def _key(self, settings: Mapping[str, str]) -> str:
        """One key for all runs in this home, readable by its owner alone."""
        path = self.folder / "key"
        if not path.exists():
            scopes = ["--scope", "ingest", "--scope", "decide", "--scope", "review", "--scope", "admin"]
            write_text(path, output_of(["keys", "create", *scopes, "--label", "demo"], settings))
            path.chmod(0o600)
        return path.read_text().strip()

    def _show(self, steps: Steps, api: Api, manifest: Manifest, models: Mapping[str, Any]) -> dict[str, Any]:
        offers = showcase.read_lines(self.folder / "data" / manifest.offers_file)

        def copy() -> dict[str, Any]:
            return showcase.approve_copy(api, offers, ["email", "sms"], leave=showcase.LEFT_FOR_REVIEW)

        def decide() -> dict[str, Any]:
            showcase.wait_for_models(api, models, self.speaker)
            return {"decisions": showcase.ask(api, manifest.examples, offers)}

        def start() -> dict[str, Any]:
            starter = self._starter()
            experiment = orjson.loads((starter / "winback-hour.experiment.json").read_bytes())
            showcase.start_journey(api, JOURNEY, (starter / "winback.yaml").read_bytes(), EXPERIMENT, experiment)
            enrolled = showcase.enrol(api, JOURNEY, manifest.stopped)
            return {"id": JOURNEY, "experiment": EXPERIMENT, "enrolled": enrolled}

        content = steps.run("copy", "Have copy written by templates, and approve it", {}, copy)
        decisions = steps.run("decisions", "Ask for five decisions", {"who": manifest.examples}, decide)
        journey = steps.run("journey", "Upload and start a winback journey with an A/B test", {}, start)
        return {"content": content, "decisions": decisions["decisions"], "journey": journey}

    def _starter(self) -> Path:
        """The files that `opportune init` gives to anyone."""
        folder = self.folder / "starter"
        if not (folder / "winback.yaml").exists():
            command(["init", str(folder)], {})
        return folder

    # The world, the report

    def _world(self, steps: Steps) -> dict[str, Any]:
        simulation = Simulation(
            self.home / "world", self.children, self.speaker, self.wanted_port + 100, self.plan, self.customers
        )
        title = f"Live {self.plan.days} days in the simulated world"
        inputs = {"days": self.plan.days, "customers": self.customers}
        return steps.run("world", title, inputs, simulation.run)

    def _report(
        self,
        manifest: Manifest,
        counts: Mapping[str, Any],
        shown: Mapping[str, Any],
        world: dict[str, Any],
        steps: Steps,
        url: str,
        seconds: float,
    ) -> report.Report:
        features = counts["features"]
        return {
            "version": report.VERSION,
            "made_at": report.now_text(),
            "seconds": round(seconds, 1),
            "data": report.data_section(manifest),
            "features": {
                "kind": "real",
                "count": features["count"],
                "customers": features["customers"],
                "as_of": features["as_of"],
            },
            "models": [report.model_section(result) for result in counts["models"].values()],
            "decisions": shown["decisions"],
            "content": {"kind": "real", "by": "templates", **shown["content"]},
            "journey": {"kind": "simulated", "households": shown["journey"], **_journey_of(world)},
            "experiment": {"kind": "simulated", **world["experiment"]},
            "world": world,
            "timings": report.timing_rows(steps.timings),
            "addresses": {name: url + path for name, path in report.PAGES.items()},
        }

    def _stay(self, settings: Mapping[str, str], url: str) -> None:
        """Serves, with the runner beside it, until Ctrl-C."""
        self.children.start("worker", ["worker"], settings)
        self.speaker.say(f"Serving at {url} until Ctrl-C. The API key of this demo is in {self.folder / 'key'}.")
        while True:
            time.sleep(0.5)
            self.children.check()


def _journey_of(world: Mapping[str, Any]) -> dict[str, Any]:
    return {"in_the_world": world["journey"], "stats": world["journey_stats"]}


def _feature_count() -> int:
    from features.catalogue import FEATURE_NAMES

    return len(FEATURE_NAMES)


def _package_version() -> str:
    try:
        return version("opportune")
    except PackageNotFoundError:
        return "source"


def _end_on_termination() -> None:
    """SIGTERM ends the demo as Ctrl-C does: children are stopped in order."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
