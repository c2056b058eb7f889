"""A small JSONL file of Segment messages, seeded: orders, campaigns, redemptions, two ids of one person, and faults."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

END = datetime(2026, 11, 1, tzinfo=UTC)
BROKEN = ("{not json", '{"type":"track","userId":"c1"}', '{"type":"nonsense","userId":"c1","event":"X"}')


def segment_file(path: Path, customers: int = 60, days: int = 400, seed: int = 5, broken: bool = True) -> Path:
    """Writes the messages in the order of their times; some customers stop buying; faults in between."""
    chance = random.Random(seed)
    messages = [message for number in range(customers) for message in _life(number, days, chance)]
    messages.sort(key=lambda message: (str(message["timestamp"]), str(message["messageId"])))
    lines = [orjson.dumps(message).decode() for message in messages]
    if broken:
        for place, line in enumerate(BROKEN):
            lines.insert((place + 1) * len(lines) // 5, line)
    path.write_text("\n".join(lines) + "\n")
    return path


def _life(number: int, days: int, chance: random.Random) -> list[dict[str, object]]:
    name, made = f"c{number}", 0
    start, gap = END - timedelta(days=days), chance.uniform(4, 25)
    stops = chance.uniform(30, 2 * days)

    def message(day: float, event: str | None, **facts: object) -> dict[str, object]:
        nonlocal made
        made += 1
        told = {"messageId": f"{name}-{made}", "userId": name, "timestamp": (start + timedelta(days=day)).isoformat()}
        return told | ({"type": "track", "event": event, "properties": facts} if event else {"type": "identify"})

    first = message(0.1, None)
    life = [{**first, "anonymousId": f"visitor-{number}", "traits": {"email": f"{name}@shop.example", "locale": "en"}}]
    before = message(0.05, "Product Viewed", product_id="p1", category="coffee")
    life.append(
        {**{key: value for key, value in before.items() if key != "userId"}, "anonymousId": f"visitor-{number}"}
    )
    day = chance.uniform(1, gap)
    while day < min(stops, days):
        price = chance.randint(300, 4000) / 100
        product = {
            "product_id": f"p{chance.randint(1, 5)}",
            "category": chance.choice(["coffee", "tea"]),
            "price": price,
        }
        life.append(
            message(
                day, "Order Completed", order_id=f"{name}-{made}", revenue=price, currency="USD", products=[product]
            )
        )
        day += chance.gammavariate(2, gap / 2)
    for day in range(20, days, 21):
        life.append(message(day, "Email Delivered", campaign_id=f"w{day}", offer_id="thanks"))
        if chance.random() < 3 / gap:
            life.append(
                message(day + chance.uniform(0.1, 9), "Coupon Redeemed", campaign_id=f"w{day}", offer_id="thanks")
            )
    return life
