"""Where a customer is, as the profile last said; Segment's reserved traits (`address`), and common flat ones. Of whom
no profile says it, country and region are those of the newest event that named them (`context.location`).

A country, region or postal code is a number that a tree can split on (codes.py says how, and back). The offset from
UTC is that of the zone (`context.timezone`, else the trait) in which the newest event that told one happened. It is
never told as a reason: of those who live in one zone it says only whether that was in summer.
"""

from __future__ import annotations

from features.declare import Feature

FEATURES: tuple[Feature, ...] = (
    Feature(
        "country_code",
        "last",
        "Country, as the profile last said, else events: 26 times the first ISO 3166 letter plus the second (A is 0).",
        "in {country_code:.0f}",
        "country",
        column="country",
        also=("address.country", "country_code", "countryCode", "address.countryCode"),
        reading="country",
        located="country",
    ),
    Feature(
        "region_code",
        "last",
        "State or region, as the profile last said, else events: a number that stands for its name, without order.",
        "in region no. {region_code:.0f}",
        "region",
        column="region",
        also=("state", "province", "address.state", "address.region", "address.province"),
        reading="label",
        located="region",
    ),
    Feature(
        "postal_area",
        "last",
        "First three letters or digits of the postal code, as the profile last said.",
        "in the postal area {postal_area:.0f}",
        "area",
        column="postal_code",
        also=("postalCode", "postcode", "zip", "zip_code", "address.postalCode", "address.postal_code", "address.zip"),
        reading="area",
    ),
    Feature(
        "utc_offset_hours",
        "last",
        "Hours that local time was ahead of UTC at the newest event that told its time zone.",
        "",
        "hours",
        column="timezone",
        reading="utc_offset",
    ),
)
