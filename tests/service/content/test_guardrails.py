"""Every figure that a reader sees is a fact of the offer, however it is written; all else is caught, in place."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.content.guardrails import Check, Rules, check_copy
from service.content.locales import digits_to_ascii, writing
from service.content.merge_values import format_money

OFFER = {
    "name": "Coffee Gold 3-pack B12",
    "description": "Fine coffee",
    "facts": {
        "discount": {"percent": 20},
        "price": {"amount": "9.90", "currency": "EUR"},
        "code": "SAVE20",
        "url": "https://shop.example/x",
        "ends_at": "2026-12-31T23:59:00Z",
    },
}
LOCALES = ["en", "de", "es", "fr", "ms", "id", "th", "pt-BR", "de-CH", "fr-CA", "ja", "hi", "tr", "ar", "sv", "pl"]


def failed(
    channel: str, locale: str, offer: dict | None = OFFER, rules: Rules | None = None, **fields: str
) -> list[Check]:
    return [check for check in check_copy(channel, locale, fields, offer, rules) if not check.passed]


def named(checks: list[Check], **fields: str) -> set[tuple[str, str | None]]:
    """(check, the text that its span points at)."""
    return {(c.name, fields[c.field or ""][slice(*c.span)] if c.span else None) for c in checks}


@pytest.mark.parametrize(
    ("locale", "body"),
    [
        ("en", "20% off, only €9.90 until December 31 at 11:59 pm with code SAVE20: https://shop.example/x"),
        ("en", "Save 20 percent on the 3-pack. EUR 9.90. Ends 12/31/2026. https://shop.example/x?utm_source=sms"),
        ("en", "Twenty percent off B12 until Thursday!"),
        ("en", "Coffee at 9.90 euros, 20 per cent off, valid to 31 Dec 2026 23:59"),
        ("de", "20 % Rabatt: nur 9,90 € bis 31.12. um 23:59 Uhr, Code SAVE20"),
        ("de", "Zwanzig Prozent sparen bis zum 31. Dezember 2026"),
        ("es", "20 % hasta el 31 de diciembre de 2026: 9,90 €"),
        ("fr", "−20 % jusqu’au 31 décembre 2026 à 23h59 : 9,90 €"),
        ("ms", "Diskaun 20 peratus sehingga 31 Disember 2026, dua puluh peratus, kod SAVE20"),
        ("id", "Diskon 20 persen, dua puluh persen sampai 31 Desember 2026, pengiriman cepat, kode SAVE20"),
        ("th", "ลด ๒๐% ถึง 31 ธันวาคม 2569 เพียง 9.90 ยูโร โค้ด SAVE20"),
        ("th", "ลดร้อยละ 20 หรือยี่สิบเปอร์เซ็นต์"),
        ("ar", "خصم ٢٠٪ حتى ٣١ ديسمبر ٢٠٢٦ ٩٫٩٠ €"),
        ("hi", "२०% की छूट, 31 दिसंबर 2026 तक"),
        ("ja", "12月31日まで２０％オフ"),
        ("tr", "%20 indirim, 9,90 €"),
        (
            "en",
            "Sugar-free: {{ offer.discount }} off, {{ offer.price }} until {{ offer.ends_at }}. {{ offer.url }}",
        ),
    ],
)
def test_true_copy_passes_in_every_script(locale: str, body: str) -> None:
    assert failed("sms", locale, body=body) == []


@pytest.mark.parametrize("character", ["\n", "\r", "\t"])
def test_a_subject_is_one_line(character: str) -> None:
    """A break would begin another header of the mail."""
    subject = f"Tea{character}Bcc: a"
    found = failed("email", "en", subject=subject, body="<p>Tea\n\tand coffee {{ unsubscribe_url }}</p>")
    assert named(found, subject=subject) == {("characters", character)}


def test_what_is_missing_or_has_no_letters_is_no_crash_and_no_other_fault() -> None:
    assert [check.name for check in failed("webhook", "en")] == ["fields"]
    assert failed("sms", "th", body="20% 9.90 €") == []


def test_each_day_of_an_offer_may_be_told_and_no_other() -> None:
    facts = {"starts_on": "2026-12-01", "ends_at": "2026-12-31T23:59:00Z"}
    told = {
        day: failed("sms", "en", {"name": "Coffee", "facts": facts}, body=f"On December {day}") for day in (1, 2, 31)
    }
    assert {day: [check.name for check in checks] for day, checks in told.items()} == {1: [], 2: ["dates"], 31: []}


@pytest.mark.parametrize(
    ("locale", "own", "body", "false"),
    [
        ("en", "24/7 Gym", "24/7 Gym is open", "24/6 Gym is open"),
        ("en", "Pack 1/2 of jam", "Pack 1/2", "Pack 1/3"),
        ("en", "Fair of 3 May", "The fair of May 3", "The fair of May 4"),
        ("en", "Brunch from 10 am", "From 10:00", "From 11 am"),
        ("de", "Offen bis Freitag", "Bis Freitag", "Bis Samstag"),
        ("de", "Nur bis 30.02.2026", "Nur bis 30.02.2026", "Nur bis 28.02.2026"),  # it was looked for without end
    ],
)
def test_dates_and_times_in_an_offers_own_words_may_be_told(locale: str, own: str, body: str, false: str) -> None:
    told = [failed("sms", locale, {"name": "Tea", "description": own}, body=text) for text in (body, false)]
    assert [{check.name for check in checks} - {"numbers"} for checks in told] == [set(), {"dates"}]


def test_a_sentence_that_ends_with_a_number_makes_no_date_with_the_next_line() -> None:
    assert failed("call", "en", {"name": "iPhone 16"}, script="Here is your iPhone 16.\nMay I send it?") == []
    of_a_line = failed("call", "de", {"name": "Tee 16"}, script="Bis zum 16.\u00a0Mai, oder 16. Mai")
    assert {check.name for check in of_a_line} == {"dates"}


def test_money_without_a_currency_is_of_any() -> None:
    offer = {"name": "Coffee", "facts": {"deposit": {"amount": "5"}, "price": {"amount": "9.90", "currency": "EUR"}}}
    told = {text: failed("sms", "en", offer, body=f"Pay {text}") for text in ("$5", "5 €", "$6", "$9.90")}
    assert {text: [check.name for check in checks] for text, checks in told.items()} == {
        "$5": [], "5 €": [], "$6": ["prices"], "$9.90": ["prices"]
    }  # fmt: skip
    assert "the offer's are 5, 9.90 EUR" in told["$6"][0].detail


@pytest.mark.parametrize(
    ("locale", "body", "name", "at"),
    [
        ("en", "30% off", "percents", "30%"),
        ("en", "Save fifty percent now", "percents", "fifty percent"),
        ("en", "Save 30 per cent", "percents", "30 per cent"),
        ("en", "a 3-percent discount", "percents", "3-percent"),
        ("de", "3-Prozent-Rabatt", "percents", "3-Prozent"),
        ("en", "a thirty-percent discount", "percents", "thirty-percent"),
        ("en", "Save ３０％", "percents", "３０％"),
        ("de", "dreißig Prozent sparen", "percents", "dreißig Prozent"),
        ("th", "ลด ๓๐%", "percents", "๓๐%"),
        ("ar", "خصم ٣٠٪", "percents", "٣٠٪"),
        ("en", "only $9.90", "prices", "$9.90"),
        ("en", "only US$ 9.90", "prices", "US$ 9.90"),
        ("en", "only €19.90", "prices", "€19.90"),
        ("de", "nur 990 €", "prices", "990 €"),
        ("de", "nur 9.900 €", "prices", "9.900 €"),
        ("th", "เพียง 99 บาท", "prices", "99 บาท"),
        ("ms", "hanya RM9.90", "prices", "RM9.90"),
        ("en", "for nine dollars", "prices", "nine dollars"),
        ("en", "one hundred twenty percent off", "percents", "one hundred twenty percent"),
        ("en", "only €9.90 million", "prices", "€9.90 million"),
        ("en", "only €9.90k", "prices", "€9.90k"),
        ("de", "nur 9,90 Mio. €", "prices", "9,90 Mio. €"),
        ("th", "เพียง 9.90 ล้านยูโร", "prices", "9.90 ล้านยูโร"),
        ("en", "20 thousand cups", "numbers", "20 thousand"),
        ("en", "until December 30", "dates", "December 30"),
        ("en", "until October 31", "dates", "October 31"),
        ("en", "until December 31, 2027", "dates", "December 31, 2027"),
        ("en", "until Friday", "dates", "Friday"),
        ("en", "by 31/01/2027", "dates", "31/01/2027"),
        ("de", "bis 30.12.", "dates", "30.12."),
        ("th", "ถึง 30 ธันวาคม 2569", "dates", "30 ธันวาคม 2569"),
        ("en", f"{'-'.join('abcdefgh' * 5)} https://evil.com", "links", "https://evil.com"),
        ("en", "at 10 pm", "dates", "10 pm"),
        ("en", "only 5 left", "numbers", "5"),
        ("en", "20 days to go", "numbers", "20"),
        ("en", "save ½ of it", "numbers", "½"),
        ("en", "code SAVE30", "codes", "SAVE30"),
        ("en", "use the code SUMMER", "codes", "SUMMER"),
        ("de", "Gutscheincode: „Winter“", "codes", "Winter"),
        ("en", "go to https://evil.example/x", "links", "https://evil.example/x"),
        ("en", "go to evil.com/deal", "links", "evil.com/deal"),
        ("en", "write to me@evil.com", "links", "me@evil.com"),
        ("en", "a free gift", "claims", "free"),
        ("en", "best price guaranteed", "claims", "best price"),
        ("de", "jetzt gratis", "claims", "gratis"),
        ("fr", "c'est gratuit", "claims", "gratuit"),
        ("es", "precio más bajo", "claims", "precio más bajo"),
        ("ms", "percuma untuk anda", "claims", "percuma"),
        ("en", "free of charge", "claims", "free of charge"),
        ("en", "at no extra cost", "claims", "no extra cost"),
        ("en", "a two-for-one day", "claims", "two-for-one"),
        ("en", "win a trip", "claims", "win a"),
        ("de", "mit Gratisversand", "claims", "Gratisversand"),
        ("de", "kostenfrei dazu", "claims", "kostenfrei"),
        ("es", "sin costo", "claims", "sin costo"),
        ("en", "ends at midnight", "urgency", "ends at midnight"),
        ("es", "solo por hoy", "urgency", "solo por hoy"),
        ("id", "Beli satu gratis satu", "claims", "Beli satu gratis satu"),
        ("id", "hadiah untuk anda", "claims", "hadiah"),
        ("id", "selama persediaan masih ada", "claims", "selama persediaan masih ada"),
        ("id", "delapan puluh persen", "percents", "delapan puluh persen"),
        ("id", "hanya hari ini", "urgency", "hanya hari ini"),
        ("id", "sampai Jumat", "dates", "Jumat"),
        ("th", "แถมฟรี", "claims", "แถม"),
        ("en", "for half\u00a0price", "claims", "half\u00a0price"),
        ("en", "at the best\nprice", "claims", "best\nprice"),
        ("en", "at the best  price", "claims", "best  price"),
        ("en", "you’ve won", "claims", "you’ve won"),
        ("en", "a third off", "claims", "third off"),
        ("en", "half of the usual price", "claims", "half of the usual price"),
        ("en", "risk‑free", "claims", "risk‑free"),
        ("en", "all 𝗙𝗥𝗘𝗘", "claims", "𝗙𝗥𝗘𝗘"),
        ("fr", "moitie\u0301 prix", "claims", "moitie\u0301 prix"),
        ("th", "ราคาต่ำที่สุด", "claims", "ราคาต่ำที่สุด"),
        ("fr", "aujourd’hui seulement", "urgency", "aujourd’hui seulement"),
        ("fr", "jusqu’à vendredi", "dates", "vendredi"),
        ("en", "ends today", "urgency", "ends today"),
        ("en", "visit https://shоp.example/x", "lookalikes", "https://shоp.example/x"),
        ("en", "https://shop.example@evil.com/x", "lookalikes", "https://shop.example@evil.com/x"),
        ("en", "pаypal", "lookalikes", "pаypal"),
        ("en", "2\u200b0% off", "characters", "\u200b"),
        ("en", "off\x07", "characters", "\x07"),
        ("en", "\u202e%02 off", "characters", "\u202e"),
        ("en", "<b>hi</b>", "markup", "<b>"),
        ("en", "{{ offer.prize }}", "merge_tags", "{{ offer.prize }}"),
        ("en", "{{ customer.email }}", "merge_tags", "{{ customer.email }}"),
        ("en", "{{ offer.price | times: 2 }}", "merge_tags", "{{ offer.price | times: 2 }}"),
        ("en", "{% for i in (1..9) %}x{% endfor %}", "merge_tags", "{% for i in (1..9) %}"),
        ("en", "{% assign x = 5 %}", "merge_tags", "{% assign x = 5 %}"),
        ("en", "{{ offer.price", "merge_tags", "{{"),
        ("en", '{{ offer.price | default: "50% off" }}', "percents", "50%"),
        ("en", "{{ offer.discount.percent }}0% off", "percents", "{{ offer.discount.percent }}0%"),
        ("en", "${{ offer.price.amount }}", "prices", "${{ offer.price.amount }}"),
        ("en", "5{% if offer.code %}0%{% endif %}", "percents", "5{% if offer.code %}0%"),
        ("th", "Hello there", "language", None),
    ],
)
def test_false_copy_is_caught_where_it_stands(locale: str, body: str, name: str, at: str | None) -> None:
    assert (name, at) in named(failed("sms", locale, body=body), body=body)


@pytest.mark.parametrize(
    ("body", "name", "at"),
    [
        ("<p>Save <b>5</b>0%</p>", "percents", "5</b>0%"),
        ("<p>Save &#53;0%</p>", "percents", "&#53;0%"),
        ("<p>Save fifty\n  percent</p>", "percents", "fifty\n  percent"),
        ("<p>Save 5\n\t€</p>", "prices", "5\n\t€"),
        ("<p>For half\n  price</p>", "claims", "half\n  price"),
        ("<p>For half<br>price</p>", "claims", "half<br>price"),
        ('<p><img src="https://shop.example/x" alt="70% off"></p>', "percents", "70%"),
        ('<p><a href="https://evil.com">https://shop.example/x</a></p>', "links", "https://evil.com"),
        ('<p><a href="javascript:alert(1)">x</a></p>', "lookalikes", "javascript:alert(1)"),
        ("<script>alert(1)</script>", "markup", "<script>"),
        ('<p onclick="x()">hi</p>', "markup", "x()"),
        ('<p style="display:none">secret</p>', "hidden_text", "display:none"),
        ('<p style="color:#fff">secret</p>', "hidden_text", "color:#fff"),
        ("<p>x</p><!-- hidden 90% -->", "hidden_text", "<!-- hidden 90% -->"),
        ('<p>x</p><img src="https://shop.example/x" width="1" height="1">', "hidden_text", None),
        ("<p>a&#8203;b</p>", "characters", "&#8203;"),
        ('<iframe src="https://shop.example/x"></iframe>', "markup", '<iframe src="https://shop.example/x">'),
    ],
)
def test_html_hides_nothing_from_the_checks(body: str, name: str, at: str | None) -> None:
    found = named(failed("email", "en", subject="Coffee", body=body), body=body, subject="Coffee")
    assert (name, at) in found if at is not None else name in {check for check, _ in found}


def test_one_offence_gives_one_kind_of_failure() -> None:
    assert {check.name for check in failed("email", "en", subject="Save 30%", body="Come and see.")} == {"percents"}


def test_without_an_offer_no_figure_is_a_fact() -> None:
    assert {check.name for check in failed("push", "en", None, title="20% off", body="for €9.90")} == {
        "percents",
        "prices",
    }


def test_urgency_needs_an_end() -> None:
    endless = {**OFFER, "facts": {"discount": {"percent": 20}}}
    assert [c.name for c in failed("push", "en", endless, title="Hurry", body="Coffee")] == ["urgency"]
    assert failed("push", "en", title="Hurry", body="Until {{ offer.ends_at }}") == []


def test_a_claim_that_the_offer_makes_itself_is_a_fact() -> None:
    shipping = {**OFFER, "description": "Free shipping from 2 packs"}
    assert failed("push", "en", shipping, title="Free shipping", body="from 2 packs") == []


@pytest.mark.parametrize(
    ("locale", "body", "true"),
    [
        ("en", "two hundred euros", True), ("en", "five hundred euros", False), ("en", "two million euros", False),
        ("en", "two hundred cents", False), ("de", "zweihundert Euro", True), ("de", "fünfhundert Euro", False),
        ("fr", "deux mille euros", False), ("es", "doscientos euros", True), ("th", "สองร้อยยูโร", True),
        ("en", "5 million customers", True), ("en", "€0.2k", True), ("en", "5 customers", False),
    ],
)  # fmt: skip
def test_a_number_is_read_with_all_its_words(locale: str, body: str, true: bool) -> None:
    offer = {"name": "Tea", "facts": {"price": {"amount": "200", "currency": "EUR"}, "customers": 5_000_000}}
    assert (failed("call", locale, offer, script=f"Tea: {body}" if locale != "th" else f"ชา {body}") == []) is true


@pytest.mark.parametrize(
    ("locale", "body", "price"),
    [
        ("es", "mil millones de euros", 10**9), ("es", "5 mil millones de euros", 5 * 10**9),
        ("es", "€5 mil millones", 5 * 10**9), ("es", "un millón de euros", 10**6),
        ("fr", "deux millions d’euros", 2 * 10**6), ("fr", "3 millions d'euros", 3 * 10**6),
        ("fr", "deux cents euros", 200), ("th", "สองแสนล้านยูโร", 2 * 10**11), ("th", "2 แสนล้านยูโร", 2 * 10**11),
        ("en", "€2 hundred thousand", 200_000),
    ],
)  # fmt: skip
def test_a_large_price_in_words_is_the_offers_and_no_other(locale: str, body: str, price: int) -> None:
    for told, true in ((price, True), (price + 1, False)):
        offer = {"name": "Tea", "facts": {"price": {"amount": str(told), "currency": "EUR"}}}
        found = failed("call", locale, offer, script=f"Tea: {body}" if locale != "th" else f"ชา {body}")
        assert ([one.name for one in found] == []) is true


@pytest.mark.parametrize(
    ("locale", "share", "percent"),
    [("en", "half the price", 50), ("en", "a third off", 33.3), ("en", "a quarter off", 25),
     ("en", "two-thirds off", 67), ("en", "three quarters off", 75), ("en", "a fifth cheaper", 20),
     ("de", "um die Hälfte reduziert", 50), ("de", "zwei Drittel günstiger", 67), ("de", "ein Viertel Rabatt", 25),
     ("es", "la mitad de descuento", 50), ("es", "un tercio más barato", 33), ("es", "tres cuartos de descuento", 75),
     ("fr", "la moitié de réduction", 50), ("fr", "deux tiers de remise", 66), ("fr", "un cinquième moins cher", 20),
     ("ms", "diskaun satu pertiga", 33), ("ms", "tiga suku lebih murah", 75), ("ms", "sepersepuluh lebih murah", 10),
     ("id", "diskon setengah", 50), ("id", "tiga perempat lebih murah", 75), ("id", "potongan harga seperempat", 25),
     ("id", "hemat sepertiga", 33), ("th", "ลดหนึ่งในสาม", 33), ("th", "ลดราคาสามในสี่", 75), ("th", "ลดครึ่งราคา", 50)],
)  # fmt: skip
def test_a_share_in_words_is_the_offers_percent(locale: str, share: str, percent: float) -> None:
    for told, true in ((percent, True), (percent + 3, False)):
        offer = {"name": "Tea", "facts": {"discount": {"percent": told}}}
        assert (failed("call", locale, offer, script=f"Tea: {share}") == []) is true


@pytest.mark.parametrize("claim", ["free", "cure", "guarantee"])
def test_a_claim_in_the_middle_of_the_offers_words_is_none_of_the_offer(claim: str) -> None:
    named = {**OFFER, "description": "Freeze-dried, sugar-free, secured, guaranteed"}
    caught = [check.name for check in failed("push", "en", named, title="Coffee", body=f"It is {claim}!")]
    assert caught == ([] if claim == "guarantee" else ["claims"])


@pytest.mark.parametrize(
    "body", ["<h2>Our best</h2>\n<p>Price it yourself</p>", "<p>sugar&nbsp;free</p>", "sugar‑free"]
)
def test_what_does_not_stand_together_is_no_claim(body: str) -> None:
    assert failed("email", "en", subject="Coffee", body=body) == []


def test_the_price_without_a_currency_sign_is_still_the_price() -> None:
    assert failed("push", "de", title="Kaffee", body="Jetzt 9,90") == []


def test_a_fact_that_is_missing_may_stand_in_a_condition_only() -> None:
    bare = {"name": "Tea", "facts": {}}
    guarded = "{% if offer.code %}Code {{ offer.code }}{% endif %}Tea"
    assert failed("push", "en", bare, title="Tea", body=guarded) == []
    assert [c.name for c in failed("push", "en", bare, title="Tea", body="{{ offer.code }} Tea")] == ["merge_tags"]


@pytest.mark.parametrize(
    ("channel", "fields", "field"),
    [
        ("email", {"subject": "x" * 79, "body": "y"}, "subject"),
        ("push", {"title": "x" * 51, "body": "y"}, "title"),
        ("push", {"title": "x", "body": "y" * 179}, "body"),
        ("web", {"title": "x", "body": "y", "cta": "z" * 31}, "cta"),
        ("sms", {"body": "x" * 460}, "body"),
        ("sms", {"body": "ก" * 202}, "body"),
    ],
)
def test_what_does_not_fit_is_named(channel: str, fields: dict[str, str], field: str) -> None:
    checks = [check for check in failed(channel, "en", **fields) if check.name == "length"]
    assert [check.field for check in checks] == [field]


def test_lengths_count_what_a_reader_sees_as_one() -> None:
    family, flag = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}", "\U0001f1f2\U0001f1fe"
    assert failed("push", "en", title=family * 25 + flag * 25, body="y") == []


def test_a_text_message_is_measured_with_a_link_as_long_as_those_that_are_sent() -> None:
    body = "x" * 41 + " {{ unsubscribe_url }}"
    assert failed("sms", "en", rules=Rules(max_sms_segments=1, link_length=118), body=body) == []
    assert [c.name for c in failed("sms", "en", rules=Rules(max_sms_segments=1, link_length=119), body=body)] == [
        "length"
    ]


def test_a_message_is_measured_for_a_reader_without_a_name_too() -> None:
    body = "x" * 140 + " {{ customer.first_name | default: 'dear customer' }}"
    assert failed("sms", "en", rules=Rules(max_sms_segments=1), body=body) == []
    longer = body.replace("dear", "dear and valued")
    assert [c.name for c in failed("sms", "en", rules=Rules(max_sms_segments=1), body=longer)] == ["length"]
    both = "x" * 141 + " {{ customer.first_name }} {{ customer.city | default: 'all over the world' }}"
    assert [c.name for c in failed("sms", "en", rules=Rules(max_sms_segments=1), body=both)] == ["length"]  # named once
    german = "x" * 146 + "{{ customer.first_name }}"
    assert [c.name for c in failed("sms", "de", rules=Rules(max_sms_segments=1), body="x" + german)] == ["length"]
    assert failed("sms", "de", rules=Rules(max_sms_segments=1), body=german) == []  # "und willkommen" fits
    title = "x" * 38 + " {{ customer.first_name | default: 'valued member' }}"
    assert [c.field for c in failed("push", "en", title=title, body="y")] == ["title"]


def test_fields_are_held_to_their_channel() -> None:
    names = {(c.name, c.field) for c in failed("push", "en", title="x", subject="y")}
    assert names == {("fields", "subject"), ("fields", "body")}


def test_ways_out_are_asked_for_by_setting() -> None:
    strict = Rules(sms_opt_out=True, unsubscribe_in_body=True)
    assert [c.name for c in failed("sms", "en", None, strict, body="Coffee")] == ["opt_out"]
    assert failed("sms", "en", None, strict, body="Coffee. Reply STOP to end.") == []
    assert [c.name for c in failed("email", "en", None, strict, subject="x", body="y")] == ["unsubscribe"]
    assert failed("email", "en", None, strict, subject="x", body="{{ unsubscribe_url }}") == []
    hidden = "{% if customer.city %}{{ unsubscribe_url }}{% endif %}"
    assert [c.name for c in failed("email", "en", None, strict, subject="x", body=hidden)] == ["unsubscribe"]
    assert failed("email", "en", None, subject="x", body="y") == []


def test_json_of_a_webhook_is_read_as_json() -> None:
    assert failed("webhook", "en", payload='{"a":{"price":"{{ offer.price }}"}}') == []
    assert [c.name for c in failed("webhook", "en", payload='{"a":')] == ["payload"]
    assert failed("webhook", "th", payload='{"tag":"latin letters, for a machine"}') == []


def test_joiners_that_a_script_needs_are_no_hidden_characters() -> None:
    assert failed("push", "fa", None, title="می‌خواهم", body="سلام") == []
    assert failed("push", "th", None, title="กาแฟ\u200bดี", body="ดี") == []


@settings(max_examples=120, deadline=None)
@given(
    locale=st.sampled_from(LOCALES),
    cents=st.integers(1, 5_000_000),
    currency=st.sampled_from(["EUR", "USD", "MYR", "THB", "JPY", "GBP", "CHF", "SEK", "INR", "BRL"]),
)
def test_a_price_as_the_locale_writes_it_is_recognized_and_another_is_not(
    locale: str, cents: int, currency: str
) -> None:
    amount = Decimal(cents) / (1 if currency == "JPY" else 100)
    offer = {"name": "x", "facts": {"price": {"amount": str(amount), "currency": currency}}}
    local = writing(locale)
    right, wrong = format_money(amount, currency, local), format_money(amount + 1, currency, local)
    figures = {"numbers", "percents", "prices", "dates", "codes"}
    assert {c.name for c in failed("push", locale, offer, title="x", body=right)} & figures == set()
    assert "prices" in {c.name for c in failed("push", locale, offer, title="x", body=wrong)}


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=300), locale=st.sampled_from(LOCALES), channel=st.sampled_from(["email", "sms", "push"]))
def test_any_text_gets_a_verdict_with_spans_inside_it(text: str, locale: str, channel: str) -> None:
    fields = {"subject": text, "body": text, "title": text}
    for check in check_copy(channel, locale, fields, OFFER):
        if check.span is not None:
            start, end = check.span
            assert 0 <= start <= end <= len(fields[check.field or ""])


@pytest.mark.parametrize("zero", [0x0660, 0x116D0, 0x116DA, 0x1CCF0, 0x1D7CE])
def test_digits_of_scripts_newer_than_pythons_tables_are_digits(zero: int) -> None:
    assert digits_to_ascii("".join(chr(zero + number) for number in range(10))) == "0123456789"
    wrong = f"Save {chr(zero + 3)}{chr(zero + 5)}% on tea"
    assert "percents" in {c.name for c in failed("email", "en", subject="x", body=wrong)}


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from(
            [
                "{{",
                "}}",
                "{%",
                "%}",
                " if ",
                "offer.price",
                "endif",
                "<b",
                ">",
                "</b>",
                "&#5",
                "3;",
                "0%",
                '"',
                "'",
                "|",
                "default:",
                "-",
            ]
        ),
        max_size=14,
    )
)
def test_broken_markup_and_tags_never_raise(pieces: list[str]) -> None:
    check_copy("email", "en", {"subject": "x", "body": "".join(pieces)}, OFFER)
