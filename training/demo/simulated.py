"""The demo's simulated part: the world in a home, on a clock, with a server and a runner of its own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from training.demo import homes
from training.demo.processes import Children, command, free_port, output_of
from training.demo.showcase import approve_copy, read_results, start_journey, wait_for_models
from training.demo.speak import Speaker
from training.demo.whole_files import write_json_lines
from training.world import CHANNELS, World
from training.world.client import Api
from training.world.clock_file import ClockFile
from training.world.drive import Drive, Plan
from training.world.journey import EXPERIMENT, JOURNEY, experiment, journey
from training.world.mailbox import Mailbox, Outbox

SEED, CUSTOMERS = 7, 500
LEARNT = ("next-offer", "send-time")
VERDICT = ("version", "promoted", "verdict")


@dataclass
class Simulation:
    """Runs the world against the service in `home`, which is made anew each time: a half-lived world is no use."""

    home: Path
    children: Children
    speaker: Speaker
    first_port: int
    plan: Plan
    customers: int = CUSTOMERS

    def run(self) -> dict[str, Any]:
        """The world's section of the report; every figure is simulated."""
        shutil.rmtree(self.home, ignore_errors=True)
        world = World(SEED, self.customers)
        clock = ClockFile(self.home / "clock", world.start)
        with Mailbox() as mailbox:
            variables = self._variables(clock, mailbox)
            settings = homes.settings_of(self.home, homes.WORLD, self.first_port, variables)
            self._fill(world, settings)
            key = output_of(["keys", "create", "--scope", "ingest,decide,review,admin", "--label", "world"], settings)
            port = free_port(self.first_port)  # only now: filling takes long enough for others to take one
            settings = homes.settings_of(self.home, homes.WORLD, port, variables)
            try:
                return self._live(world, clock, mailbox, settings, key, f"http://127.0.0.1:{port}")
            finally:
                self.children.stop("world")

    def _variables(self, clock: ClockFile, mailbox: Mailbox) -> dict[str, str]:
        return {
            "CLOCK": f"file:{clock.path}",
            "SMTP__HOST": "127.0.0.1",
            "SMTP__PORT": str(mailbox.port),
            "SMTP__SENDER": "World <world@example.net>",
        }

    def _fill(self, world: World, settings: Mapping[str, str]) -> None:
        """The history, by the same way as anybody's data."""
        events, offers = self.home / "history.jsonl", self.home / "offers.jsonl"
        write_json_lines(events, world.history())
        write_json_lines(offers, [offer.contract() for offer in world.offers])
        command(["ingest", str(events), "--offers", str(offers)], settings)
        command(["features"], settings)

    def _live(
        self, world: World, clock: ClockFile, mailbox: Mailbox, settings: Mapping[str, str], key: str, url: str
    ) -> dict[str, Any]:
        self.children.start("world-api", ["serve"], settings)
        self.children.start("world-worker", ["worker"], settings)
        self.children.wait_for_api("the world's API", url)
        with Api(url, key) as api:
            approve_copy(api, [offer.contract() for offer in world.offers], CHANNELS)
            start_journey(api, JOURNEY, journey(), EXPERIMENT, experiment())
            learnt: list[dict[str, Any]] = []
            drive = Drive(
                world,
                api,
                clock,
                [mailbox, Outbox(self.home / "outbox")],
                self.plan,
                learn=lambda: learnt.append(self._learn(api, settings)),
                progress=self._progress,
            )
            summary = drive.run()
            return {
                "kind": "simulated",
                "seed": SEED,
                "customers": len(world.customers),
                "offers": len(world.offers),
                **summary,
                "learnt": learnt,
                "experiment": api.get(f"/v1/experiments/{EXPERIMENT}/results"),
                "impact": api.get("/v1/impact")["placements"],
                "journey_stats": api.get(f"/v1/journeys/{JOURNEY}/stats"),
                "log": self._log(settings),
            }

    def _progress(self, day: int, days: int) -> None:
        self.children.check()
        if day % 5 == 0 or day == days:
            self.speaker.detail(f"day {day} of {days}")

    def _learn(self, api: Api, settings: Mapping[str, str]) -> dict[str, Any]:
        """Trains on the world's own log; waits until the service serves what was promoted. Returns the verdicts."""
        command(["train", *LEARNT], settings)
        results = read_results(self.home, LEARNT)
        wait_for_models(api, results, self.speaker)
        return {name: {key: result[key] for key in VERDICT} for name, result in results.items()}

    def _log(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """What the service's own log says: by arm, decisions, sales that it attributed, and their value."""
        estimate = output_of(["evaluate", "uniform"], settings, may_refuse=True)
        return {"arms": log_by_arm(self.home / "tables"), "evaluate_uniform": estimate}


def log_by_arm(tables: Path) -> dict[str, dict[str, Any]]:
    """From the exported decision log: decisions of the weekly placement and those that were followed by a sale."""
    decisions = pl.read_parquet(tables / "decisions.parquet").filter(pl.col("placement") == "weekly")
    outcomes = pl.read_parquet(tables / "outcomes.parquet").filter(pl.col("kind") == "converted")
    sold = decisions.join(outcomes.select("decision_id").unique(), on="decision_id", how="semi")
    count = pl.col("decision_id").n_unique()
    rows = (
        decisions.group_by("arm")
        .agg(decisions=count)
        .join(sold.group_by("arm").agg(sales=count), on="arm", how="left")
        .with_columns(pl.col("sales").fill_null(0))
        .sort("arm")
    )
    return {row.pop("arm"): row for row in rows.to_dicts()}
