"""What the demo shows through the API: copy that is reviewed, decisions in words, a journey with an A/B test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from xxhash import xxh3_64_hexdigest

from training.demo.report import DecisionSection, decision_section
from training.demo.speak import Speaker
from training.world.client import Api, wait_until

PLACEMENT = "email.weekly"
STRANGER = "somebody-new"
LEFT_FOR_REVIEW = 3
TOP = 3
FETCH_S = 60.0


def approve_copy(
    api: Api, offers: Sequence[Mapping[str, Any]], channels: Sequence[str], leave: int = 0
) -> dict[str, Any]:
    """Has copy written for each offer and channel and approves what passes its checks, as a reviewer would.

    For the first `leave` offers a second variant is written and left pending, so that there is something to review.
    Returns how many were written, approved and failed a check.
    """
    written = approved = failed = 0
    for place, offer in enumerate(offers):
        for channel in (each for each in offer["channels"] if each in channels):
            waits = place < leave and channel == "email"
            variants = _generate(api, offer["offer_id"], channel, 2 if waits else 1)
            written += len(variants)
            first = variants[0]
            if first["state"] == "pending" and all(check["passed"] for check in first["checks"]):
                path = f"/v1/content/variants/{quote(first['variant_id'], safe='')}/approve"
                first = api.post(path, None, headers={"If-Match": first["etag"]})
            approved += first["state"] == "approved"
            failed += any(not check["passed"] for check in first["checks"])
    return {"written": written, "approved": approved, "failed_a_check": failed, "pending": written - approved}


def _generate(api: Api, offer_id: str, channel: str, n: int) -> list[dict[str, Any]]:
    known = api.get(f"/v1/content/variants?channel={channel}&locale=en&offer_id={quote(offer_id, safe='')}")
    variants: list[dict[str, Any]] = known["variants"] if isinstance(known, dict) else known
    if not variants:
        made = api.post("/v1/content/generate", {"offer_id": offer_id, "channel": channel, "locale": "en", "n": n})
        variants = made["variants"] if isinstance(made, dict) else made
    return variants


def wait_for_models(api: Api, results: Mapping[str, Mapping[str, Any]], speaker: Speaker) -> None:
    """Until the API serves every version that was promoted; says so where that takes too long."""
    wanted = {(name, str(result["version"])) for name, result in results.items() if result["promoted"]}

    def served() -> bool:
        found = {(m["name"], m["version"]) for m in api.ready()["models"] if m["alias"] == "champion"}
        return wanted <= found

    try:
        wait_until(served, "the promoted models to be served", FETCH_S, pause_s=0.3)
    except TimeoutError as late:
        speaker.say(f"{late}; decisions do without them")


def read_results(home: Path, names: Sequence[str]) -> dict[str, Any]:
    """What training left in `home`/reports/training, by model."""
    folder = home / "reports" / "training"
    return {name: orjson.loads((folder / f"{name}.json").read_bytes()) for name in names}


def ask(api: Api, examples: Mapping[str, str], offers: Sequence[Mapping[str, Any]]) -> list[DecisionSection]:
    """A decision with reasons for each example customer (what he is like -> id), and for one whom nobody knows."""
    names = {offer["offer_id"]: offer["name"] for offer in offers}
    asked = [*examples.items(), ("somebody of whom nothing is known", STRANGER)]
    sections = []
    for who, customer in asked:
        request = {"customer_id": customer, "placement": PLACEMENT, "channels": ["email", "sms"], "top_k": TOP}
        once = {"Idempotency-Key": f"demo-{xxh3_64_hexdigest(orjson.dumps(request))}"}
        sections.append(decision_section(who, api.post("/v1/decisions", request, headers=once), names))
    return sections


def start_journey(
    api: Api, journey_id: str, journey: bytes | Mapping[str, Any], experiment_id: str, experiment: Any
) -> None:
    """Declares the experiment, uploads the journey (bytes are YAML) and activates it."""
    api.put(f"/v1/experiments/{experiment_id}", experiment)
    if isinstance(journey, bytes):
        api.put(f"/v1/journeys/{journey_id}", journey, headers={"Content-Type": "application/yaml"})
    else:
        api.put(f"/v1/journeys/{journey_id}", journey)
    api.post(f"/v1/journeys/{journey_id}/activate", None)


def enrol(api: Api, journey_id: str, customers: Sequence[str]) -> int:
    """Enrols customers; who is in already stays as he is."""
    for customer in customers:
        api.call("POST", f"/v1/journeys/{journey_id}/enrollments", {"customer_id": customer}, ok=409)
    return len(customers)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """JSON lines."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]
