"""Lies as a text model tells them, in every language that there are lists for, beside honest texts that must pass."""

from __future__ import annotations

import time

import pytest

from service.content.guardrails import MOST_TAGS, check_copy
from service.content.tried_copy import try_copy

OFFER = {
    "name": "Summer socks",
    "description": "Soft cotton socks",
    "facts": {
        "discount": {"percent": 20},
        "price": {"amount": "9.90", "currency": "EUR"},
        "code": "SOCK20",
        "url": "https://shop.example/socks",
        "ends_at": "2026-12-31T23:59:00Z",
    },
}
LIES = {
    "en": {
        "percents": "Zero percent financing",
        "prices": "Zero euros|a 20-euro voucher|a five-euro voucher|20 pence socks|9.90 dolar",
        "numbers": "seventy off|two-year returns|Ends in two hours|Join ten thousand customers",
        "dates": "until the fifth of January|ends on the fifth of January|until the end of January|until mid January",
        "codes": "Use SAVEBIG now|Enter HELLO at checkout|your code: winter",
        "links": "t.me/evil|x.com|see m.me/evil today",
        "claims": "Our lowest prices|best prices|You won!|a tax-free treat|interest-free credit|Shipping is on us|"
        "It won't cost you a penny|You pay nothing|without any risk|zero risk|no hidden costs|full refund|"
        "lifetime warranty|cash back|double your discount|triple points|ten times the points|prices cut in half|"
        "halved prices|three for two|clinically tested|proven to work|recommended by doctors|heals cold feet|"
        "only three left|thousands of happy customers|five-star socks|the best socks in town|free-of-charge socks|"
        "you have been selected|Claim your prize|limited edition|nobody beats our socks",
        "urgency": "This Friday only|until the end of the month|one day only",
    },
    "de": {
        "percents": "null Prozent Zinsen|fünfzigprozentiger Rabatt",
        "prices": "null Euro|ein Fünf-Euro-Gutschein|20-Euro-Gutschein",
        "numbers": "nur noch zwei Tage|über zehntausend Kunden",
        "dates": "bis zum fünften Januar|bis Ende Januar|bis Mitte Januar|bis nächsten Freitag|zum ersten Mai",
        "codes": "Gutscheincode: sommer",
        "claims": "versandkostenfrei|ohne Versandkosten|portofrei|frei Haus|zum Nulltarif|billigste Socken|"
        "das beste Angebot|beste Qualität|Dauertiefpreis|niemand ist billiger|ohne Risiko|drei für zwei|"
        "wissenschaftlich belegt|von Ärzten empfohlen|Sie sind der Gewinner|nur noch drei Paar|limitierte Auflage|"
        "Tausende zufriedene Kunden|fünf Sterne|Preise halbiert|Sparen Sie die Hälfte|ein Drittel weniger",
        "urgency": "bis zum Monatsende|bis zum Wochenende|bis Ende der Woche",
    },
    "es": {
        "percents": "cero por ciento de interés",
        "prices": "cero euros|20 céntimos",
        "numbers": "en dos horas|veinte mil clientas",
        "dates": "hasta el cinco de enero|hasta finales de enero|el primero de enero",
        "codes": "usa HOLA|código: verano",
        "claims": "garantía total|los mejores precios|los precios más bajos|sin gastos de envío|envío incluido|"
        "te lo regalamos|la mitad del precio|tres por dos|doble descuento|sin riesgos|te devolvemos el dinero|"
        "científicamente probado|recomendado por médicos|ganaste|quedan tres pares|edición limitada|"
        "miles de clientes|cinco estrellas|sin intereses|un tercio menos",
        "urgency": "hasta fin de mes|termina esta noche",
    },
    "fr": {
        "percents": "zéro pour cent",
        "prices": "zéro euro|20 centimes",
        "numbers": "plus que deux heures|vingt mille clientes",
        "dates": "jusqu'au cinq janvier|jusqu'à fin janvier|jusqu'à la fin du mois de janvier|le premier janvier",
        "codes": "code promo : été",
        "claims": "deux pour un|trois pour le prix de deux|la moitié du prix|réduit de moitié|prix divisés par deux|"
        "double remise|points doublés|les prix les plus bas|le moins cher|remboursé|sans risques|sans coût|"
        "cliniquement testé|recommandé par les médecins|vous êtes le gagnant|plus que trois paires|stock limité|"
        "édition limitée|des milliers de clients|cinq étoiles|un tiers de moins|hors taxes",
        "urgency": "jusqu'à ce soir|jusqu'à la fin du mois|seulement aujourd'hui",
    },
    "ms": {
        "percents": "sifar peratus",
        "prices": "kosong ringgit|9.90 dolar|20 sen",
        "numbers": "dua jam lagi",
        "dates": "sehingga lima Januari|sehingga akhir Januari|sehingga hujung bulan Januari",
        "codes": "guna HELLO|kod: panas",
        "claims": "tiada caj|tanpa bayaran|bebas risiko|harga paling rendah|dua untuk satu|diskaun berganda|"
        "waranti seumur hidup|wang dikembalikan|disyorkan doktor|anda pemenang|edisi terhad|tinggal tiga pasang|"
        "lima bintang|bebas cukai",
        "urgency": "sehingga esok|sehingga hujung bulan",
    },
    "id": {
        "percents": "nol persen",
        "prices": "nol rupiah|lima ribu rupiah|9,90 rupiah|9,90 dolar",
        "numbers": "dua jam lagi",
        "dates": "sampai lima Januari|sampai akhir Januari|sampai akhir bulan Januari",
        "codes": "pakai HELLO|kode: panas",
        "claims": "tidak dipungut biaya|tidak perlu bayar|harga setengah|dua untuk satu|diskon ganda|bebas risiko|"
        "uang Anda kembali|terbukti secara ilmiah|direkomendasikan dokter|edisi terbatas|tinggal tiga pasang|"
        "ribuan pelanggan|bintang lima|tanpa bunga",
        "urgency": "sampai akhir bulan",
    },
    "th": {
        "percents": "ศูนย์เปอร์เซ็นต์|ลดร้อยละห้าสิบ",
        "prices": "ศูนย์บาท|9.90 ดอลลาร์|9.90 ริงกิต",
        "numbers": "อีกสองชั่วโมง",
        "dates": "ถึงวันที่ห้ามกราคม|ถึงสิ้นเดือนมกราคม",
        "codes": "ใส่ HELLO",
        "claims": "ไม่เสียค่าส่ง|ไม่ต้องจ่าย|ซื้อสองได้สาม|คะแนนสองเท่า|ไร้ความเสี่ยง|ยินดีคืนเงิน|แพทย์แนะนำ|"
        "คุณถูกรางวัล|เหลือสามคู่|จนกว่าสินค้าจะหมด|ห้าดาว|ไม่มีดอกเบี้ย",
        "urgency": "ถึงพรุ่งนี้|เฉพาะวันนี้",
    },
}
HONEST = {
    "en": "Feel free to stop by. All the best|A gift idea for somebody you love|Soft socks for two: one for you|"
    "One more thing: we thought of you|It takes two minutes to order|Thanks a million for being with us|"
    "One day you will thank us|You won't regret it|USE YOUR DISCOUNT NOW: 20% OFF|Use the code: SOCK20|"
    "Three good reasons for cotton|Back for the third time|Half of us have cold feet|A fifth off|"
    "until the end of December|ends on the thirty-first of December 2026|The first of many|May brings socks|"
    "It may be cold in January|Warm, i.e. soft|No two socks cost the same|Claim your 20% discount|Twenty off",
    "de": "Schenken Sie sich etwas|Tausend Dank für Ihre Treue|Zwei Dinge sind sicher|In zwei Minuten bestellt|"
    "Das Beste kommt zum Schluss|Ihr Code: SOCK20|9,90 € bis Ende Dezember|bis zum einunddreißigsten Dezember|"
    "ein Fünftel weniger|Bis bald|Zum ersten Mal|Ein zwanzigprozentiger Rabatt|Null Problem|Der Preis ist heiß",
    "es": "Un detalle para ti|Mil gracias por estar aquí|Dos cosas|En dos minutos|Los mejores deseos|"
    "Usa el código SOCK20|hasta finales de diciembre|hasta el treinta y uno de diciembre|uno de muchos|Once colores",
    "fr": "Mille mercis|Deux bonnes raisons|En deux minutes c'est fait|Meilleurs vœux|Utilisez le code SOCK20|"
    "jusqu'à la fin décembre|jusqu'au trente et un décembre|Une seconde paire|À bientôt|Un cinquième de remise",
    "ms": "Terima kasih banyak|Dua sebab yang baik|Siap dalam dua minit|Guna kod SOCK20|Jumpa lagi|"
    "sehingga akhir Disember|sehingga tiga puluh satu Disember|Januari sejuk|Tanpa ragu",
    "id": "Ribuan terima kasih|Dua alasan bagus|Selesai dalam dua menit|Pakai kode SOCK20|Sampai jumpa|"
    "sampai akhir Desember|sampai tiga puluh satu Desember|Januari dingin|Lima warna",
    "th": "ขอบคุณมาก|สามารถสั่งซื้อได้|ใช้โค้ด SOCK20|แล้วพบกัน|ถึงสิ้นเดือนธันวาคม|ถึงวันที่สามสิบเอ็ดธันวาคม|มกราคมหนาว|"
    "สองเหตุผลดีๆ|เก้าอี้นุ่มๆ|ร้อยละยี่สิบ|รักษาความอบอุ่น|ไอเดียของขวัญ",
}


def _failed(locale: str, text: str) -> set[str]:
    return {check.name for check in check_copy("call", locale, {"script": text}, OFFER) if not check.passed}


@pytest.mark.parametrize(("locale", "kind"), [(locale, kind) for locale, kinds in LIES.items() for kind in kinds])
def test_a_lie_fails_the_check_of_its_kind(locale: str, kind: str) -> None:
    told = LIES[locale][kind].split("|")
    assert [text for text in told if kind not in _failed(locale, text)] == []


@pytest.mark.parametrize("locale", HONEST)
def test_an_honest_text_is_not_refused(locale: str) -> None:
    assert {text: found for text in HONEST[locale].split("|") if (found := _failed(locale, text))} == {}


@pytest.mark.parametrize("locale", ["en", "de", "pt-BR", "it"])
def test_a_claim_in_another_language_than_was_asked_for_is_one(locale: str) -> None:
    told = ["Jetzt kostenlos", "garantía total", "le moins cher", "gratis ongkir", "ส่งฟรี socks", "tanpa risiko"]
    assert [text for text in told if "claims" not in _failed(locale, text)] == []


@pytest.mark.parametrize(("locale", "text"), [("it", "Le nostre offerte"), ("nl", "Een cadeau-idee"), ("nl", "Sokken")])
def test_a_word_that_is_a_claim_elsewhere_is_none_here(locale: str, text: str) -> None:
    assert _failed(locale, text) == set()
    assert "claims" in _failed("fr", "c'est offert, un cadeau")


def test_a_claim_that_the_offer_makes_is_none_of_ours() -> None:
    offer = OFFER | {"description": "Three for two, with a full refund. Dermatologist tested"}
    told = "Three for two! Full refund. Dermatologist tested."
    assert [check.name for check in check_copy("call", "en", {"script": told}, offer) if not check.passed] == []


@pytest.mark.parametrize("piece", ["{{", "{% if ", "1 ", "1/1/"])
def test_no_text_takes_long_to_check(piece: str) -> None:
    """A text model's answer may be anything; checking one once took a minute."""
    text = (piece * 20_000)[:18_000]
    started = time.process_time()
    checks = try_copy("email", "en", {"subject": "Tea", "body": text}, OFFER)
    assert time.process_time() - started < 5  # of CPU; took 10 to 20 s, takes 1
    assert any(not check.passed for check in checks)


def test_copy_crowded_with_tags_says_so() -> None:
    body = "{{ offer.name }}" * (MOST_TAGS + 1)
    checks = try_copy("email", "en", {"subject": "Tea", "body": body}, OFFER)
    assert [(check.name, check.passed, check.field) for check in checks] == [("merge_tags", False, "body")]
    assert "at most 500" in checks[0].detail


@pytest.mark.parametrize(
    "text",
    [
        "only €{% if customer.city == 'x' %}1{% endif %}9.90",
        "only €{% unless customer.city %}1{% endunless %}9.90",
        "2{% if customer.city %}0{% endif %}% off",
        "save 20{% if customer.city %}%{% endif %}",
        "for 19{% if customer.city %}.90{% endif %} €",
        "for 19{% if customer.city == 'x' %}{% else %}.{% endif %}90 €",
        "until December {% if customer.city %}3{% endif %}1",
        "{% if customer.city %}{{ offer.discount.percent }}{% endif %}0",
    ],
)
def test_no_condition_parts_a_figure(text: str) -> None:
    """Checks read all branches in a row, and €19.90 was true; everybody would have read €9.90."""
    offer = OFFER | {"facts": OFFER["facts"] | {"price": {"amount": "19.90", "currency": "EUR"}}}
    checks = check_copy("call", "en", {"script": text}, offer)
    assert [check.name for check in checks if not check.passed and "within a figure" in check.detail]


@pytest.mark.parametrize(
    "text",
    [
        "sock{% if customer.city %}s{% endif %}",
        "{% if customer.city %}20%{% else %}{{ offer.discount }}{% endif %} off",
        "20%{% if offer.code %}, {{ offer.code }}{% endif %}",
        "{% if customer.first_name %}{{ customer.first_name }}, {% endif %}20% off",
        "Until December 31{% if customer.city %} in {{ customer.city }}{% endif %}.",
        "{% if customer.city %}{% if customer.first_name %}You, {% endif %}{% endif %}20% off",
    ],
)
def test_a_condition_may_stand_beside_a_figure(text: str) -> None:
    assert _failed("en", text) == set()
