"""How a customer answers to messages. Machine opens and scanner clicks never count as human."""

from __future__ import annotations

from features.declare import Events, Feature, over

_CHANNELS = ("email", "sms", "push", "web")


def _by_channel(channel: str) -> tuple[Feature, ...]:
    return (
        *over(
            (30,),
            Feature(
                f"delivered_{channel}",
                "count",
                f"Messages by {channel} delivered {{d}}.",
                f"{{name:.0f}} {channel} messages {{d}}",
                "messages",
                events=Events(("delivered",), (channel,)),
            ),
        ),
        *over(
            (90,),
            Feature(
                f"clicks_{channel}",
                "count",
                f"Human clicks by {channel} {{d}}.",
                f"{{name:.0f}} {channel} clicks {{d}}",
                "clicks",
                events=Events(("clicked",), (channel,), human=True),
            ),
        ),
    )


def _on(name: str, verb: str, words: str, human: bool | None, window: float, *channels: str) -> tuple[Feature, ...]:
    return tuple(
        feature
        for channel in channels
        for feature in over(
            (window,),
            Feature(
                f"{name}_{channel}",
                "count",
                f"{words[0].upper()}{words[1:]} {channel} {{d}}.",
                f"{{name:.0f}} {words} {channel} {{d}}",
                "events",
                events=Events((verb,), (channel,), human=human),
            ),
        )
    )


def _count(
    name: str, verbs: tuple[str, ...], human: bool | None, words: str, *windows: float | None
) -> tuple[Feature, ...]:
    told = Feature(
        name,
        "count",
        f"{words[0].upper()}{words[1:]} {{d}}.",
        f"{{name:.0f}} {words} {{d}}",
        "events",
        events=Events(verbs, human=human),
    )
    return over(windows, told)


FEATURES: tuple[Feature, ...] = (
    *_count("delivered", ("delivered",), None, "messages delivered", 1, 7, 30, 90),
    *over(
        (None,),
        Feature(
            "deliveries",
            "count",
            "Messages delivered {d}.",
            "{name:.0f} messages {d}",
            "messages",
            events=Events(("delivered",)),
        ),
    ),
    *_count("opens_human", ("opened",), True, "messages opened by the person", 30, 90),
    *_count("clicks_human", ("clicked",), True, "messages clicked by the person", 30, 90, 365),
    *_count("redeemed", ("redeemed",), None, "coupons redeemed", 90, 365, None),
    *_count("unsubscribes", ("unsubscribed",), None, "unsubscribes", 365),
    *_count("complaints", ("complained",), None, "spam complaints", 365),
    *_on("opens", "opened", "human opens by", True, 90, "email", "push"),
    *_on("unsubscribes", "unsubscribed", "unsubscribes by", None, 365, "email", "sms"),
    *_on("complaints", "complained", "spam complaints by", None, 365, "email"),
    *_count("bounces", ("bounced",), None, "messages bounced", 90),
    *_count("engaged", ("opened", "clicked"), None, "opens and clicks of any kind", 90),
    *_count("engaged_machine", ("opened", "clicked"), False, "machine opens and scanner clicks", 90),
    *(feature for channel in _CHANNELS for feature in _by_channel(channel)),
    Feature(
        "open_rate_90d",
        "ratio",
        "Human opens a message delivered, last 90 days.",
        "opened {open_rate_90d:.0%} of recent messages",
        "ratio",
        of=("opens_human_90d", "delivered_90d"),
    ),
    Feature(
        "click_rate_90d",
        "ratio",
        "Human clicks a message delivered, last 90 days.",
        "clicked {click_rate_90d:.0%} of recent messages",
        "ratio",
        of=("clicks_human_90d", "delivered_90d"),
    ),
    Feature(
        "redemption_rate",
        "ratio",
        "Coupons redeemed a message delivered, all time.",
        "redeemed {redeemed_total:.0f} coupons after {deliveries_total:.0f} messages",
        "ratio",
        of=("redeemed_total", "deliveries_total"),
    ),
    Feature(
        "machine_share_90d",
        "ratio",
        "Share of opens and clicks made by machines, last 90 days.",
        "{machine_share_90d:.0%} of opens and clicks are a machine's",
        "share",
        of=("engaged_machine_90d", "engaged_90d"),
    ),
    Feature(
        "click_trend_30_90",
        "ratio",
        "Human clicks a day in the last 30 days, as a multiple of the last 90's.",
        "clicks run at {click_trend_30_90:.1f} times their usual pace",
        "ratio",
        of=("clicks_human_30d", "clicks_human_90d"),
        scale=3.0,
    ),
    Feature(
        "pressure_7_30",
        "ratio",
        "Messages a day in the last 7 days, as a multiple of the last 30's (fatigue).",
        "{delivered_7d:.0f} messages this week, {delivered_30d:.0f} this month",
        "ratio",
        of=("delivered_7d", "delivered_30d"),
        scale=30 / 7,
    ),
)
