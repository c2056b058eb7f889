"""Words that promise something: they need a fact of the offer behind them. One list a language, easy to extend."""

from __future__ import annotations

from functools import lru_cache

import regex

from service.content.plain_text import one_form

# Promises about price, superiority, gifts and scarcity. Regular expressions, matched without case.
CLAIMS: dict[str, tuple[str, ...]] = {
    "en": (
        r"(?<![\p{L}-])free(?!\p{L})(?!\s*(?:to\b|range|of\b|from\b|time|trade|style|flow))(?!-)(?<!feel free)"
        r"(?<!hassle free)(?<!sugar free)(?<!gluten free)(?<!dairy free)(?<!carefree)",
        r"free of charge", r"(?:no|zero|without) (?:(?:extra|additional|any) )?(?:cost|charge|fee)s?",
        r"costs? (?:you )?nothing", r"complimentary", r"for nothing", r"on the house",
        r"(?:absolutely|completely) free", r"\bgratis\b",
        r"best price", r"lowest price", r"cheapest", r"best deal", r"best offer", r"unbeatable", r"price match",
        r"guarantee[ds]?", r"risk[- ]free", r"money[- ]back", r"no\.? ?1\b", r"#\s?1\b", r"number one",
        r"world'?s (?:best|first|leading)", r"best in the world", r"half[- ]price", r"half off",
        r"half (?:of )?(?:the|its|their) (?:\p{L}+ )?price",
        r"(?:two[- ]thirds|three[- ]quarters|third|quarter|fifth|tenth) (?:off|cheaper)",
        r"buy one,? get one", r"bogof?", r"two[- ]for[- ](?:one|the price of one)", r"2[- ]for[- ]1",
        r"you(?:'ve| have) won", r"winner",
        r"win (?:an?|your|the|big)", r"prizes?", r"award[- ]winning", r"top[- ]rated",
        r"clinically proven", r"scientifically proven", r"doctor[- ]recommended", r"cures?\b", r"100% natural",
        r"while (?:stocks?|supplies) lasts?", r"limited (?:stock|supply|quantit(?:y|ies))", r"selling (?:out )?fast",
        r"(?:almost|nearly) (?:gone|sold out)", r"only a few left", r"last (?:few|pieces|items)",
        r"once in a lifetime", r"never again", r"biggest sale", r"exclusive(?:ly)? for you",
    ),
    "de": (
        r"gratis\p{L}*", r"kostenlos\p{L}*", r"(?:kosten|gebühren)frei\p{L}*", r"ohne (?:aufpreis|mehrkosten)",
        r"testsieger\p{L}*", r"zwei zum preis von einem", r"(?:2|zwei) für (?:1|eins?)", r"umsonst", r"geschenkt",
        r"bestpreis\p{L}*", r"beste[rn]? preis\p{L}*",
        r"tiefstpreis\p{L}*", r"niedrigste[rn]? preis", r"günstigste\p{L}*", r"unschlagbar\p{L}*", r"garant\p{L}+",
        r"risikofrei", r"geld[- ]zurück", r"nr\. ?1\b", r"nummer eins", r"halbe[rmn]? preis", r"zum halben preis",
        r"gewonnen", r"klinisch (?:getestet|bewiesen)", r"solange (?:der )?vorrat reicht", r"nur noch wenige",
        r"fast ausverkauft", r"begrenzte (?:menge|stückzahl)", r"einmalig\p{L}*",
        r"(?:die hälfte|(?:ein|zwei) drittel|(?:ein|drei) viertel|ein (?:fünftel|zehntel)) "
        r"(?:günstiger|billiger|reduziert|gespart|sparen|rabatt)",
    ),
    "es": (
        r"(?<!\p{L})gratis", r"gratuit[oa]s?", r"de regalo", r"sin (?:cost[eo]s?|cargo)", r"mejor precio",
        r"precio más bajo",
        r"más barat[oa]s?", r"garanti\p{L}+", r"imbatible", r"sin riesgo", r"número uno", r"n\.?º ?1",
        r"mitad de precio",
        r"dos por uno", r"2x1", r"has ganado", r"hasta agotar existencias", r"últimas unidades", r"casi agotad\p{L}+",
        r"clínicamente probad\p{L}+",
        r"(?:la mitad|un tercio|dos tercios|un cuarto|tres cuartos|un quinto|un décimo) "
        r"(?:más barat[oa]s?|de descuento)",
    ),
    "fr": (
        r"gratuit\p{L}*", r"offert\p{L}*", r"cadeau", r"sans (?:frais|supplément)",
        r"(?:2|deux) pour (?:1|le prix d'un)", r"meilleurs? prix", r"prix le plus bas",
        r"moins cher du", r"garanti\p{L}*", r"imbattable\p{L}*", r"sans risque", r"numéro un", r"n° ?1",
        r"moitié prix", r"à moitié prix", r"vous avez gagné", r"cliniquement prouvé\p{L}*", r"derniers? exemplaires?",
        r"dans la limite des stocks", r"presque épuisé\p{L}*",
        r"(?:la moitié|un tiers|deux tiers|un quart|trois quarts|un cinquième|un dixième) "
        r"(?:moins chers?|de réduction|de remise)",
    ),
    "ms": (
        r"percuma", r"hadiah", r"tanpa kos", r"harga terbaik", r"harga terendah", r"paling murah", r"termurah",
        r"dijamin", r"jaminan", r"nombor satu", r"no\.? ?1\b", r"separuh harga", r"beli satu", r"anda menang",
        r"selagi stok (?:masih )?ada", r"stok terhad", r"hampir habis", r"terbukti secara klinikal",
        r"diskaun (?:separuh|satu pertiga|sepertiga|dua pertiga|suku|tiga suku|seperlima|sepersepuluh)",
        r"(?:separuh|satu pertiga|sepertiga|dua pertiga|suku|tiga suku|seperlima|sepersepuluh) lebih murah",
    ),
    "id": (
        r"cuma[- ]cuma", r"tanpa (?:biaya|ongkos)", r"bebas (?:biaya|ongkir)", r"hadiah", r"harga terbaik",
        r"harga terendah", r"paling murah", r"termurah", r"tak terkalahkan", r"tiada tanding\p{L}*", r"dijamin",
        r"jaminan", r"(?:ber)?garansi\p{L}*", r"tanpa risiko", r"uang kembali", r"nomor satu", r"no\.? ?1\b",
        r"terbaik di dunia", r"(?:setengah|separuh) harga", r"beli (?:satu|1),? (?:gratis|dapat) (?:satu|dua|1|2)",
        r"anda (?:menang|pemenang\p{L}*)", r"selama (?:persediaan|stok) masih ada",
        r"(?:stok|jumlah|persediaan) terbatas", r"hampir habis", r"ter(?:bukti|uji)(?: secara)? klinis",
        r"eksklusif untuk (?:anda|kamu)",
        r"(?:diskon|hemat|potongan(?: harga)?) "
        r"(?:setengah|separuh|sepertiga|dua pertiga|seperempat|tiga perempat|seperlima|sepersepuluh)",
        r"(?:setengah|separuh|sepertiga|dua pertiga|seperempat|tiga perempat|seperlima|sepersepuluh) lebih murah",
    ),
    "th": (
        r"ฟรี", r"แถม", r"ไม่มีค่าใช้จ่าย", r"ราคาดีที่สุด", r"ราคาต่ำที่สุด", r"ถูกที่สุด", r"รับประกัน", r"การันตี",
        r"อันดับ(?:หนึ่ง| ?1)", r"ครึ่งราคา", r"ลดครึ่งราคา", r"ซื้อ ?1 ?แถม ?1", r"ซื้อหนึ่งแถมหนึ่ง",
        r"คุณได้รับรางวัล",
        r"ลด(?:ราคา)? ?(?:ครึ่ง|(?:หนึ่ง|สอง)ในสาม|(?:หนึ่ง|สาม)ในสี่|หนึ่งใน(?:ห้า|สิบ))",
        r"จำนวนจำกัด", r"สินค้ามีจำนวนจำกัด", r"ใกล้หมด", r"ดีที่สุดในโลก",
    ),
}  # fmt: skip

# Pressure of time: right only where the offer really ends.
URGENCY: dict[str, tuple[str, ...]] = {
    "en": (
        r"hurry", r"last chance", r"final (?:hours?|days?|call)", r"ends? (?:soon|today|tonight|tomorrow)",
        r"ending soon", r"today only", r"only today", r"before it'?s (?:too late|gone)", r"don'?t miss (?:out|it)",
        r"limited[- ]time", r"act (?:now|fast)", r"running out", r"expires? (?:soon|today|tonight|tomorrow)",
        r"closing soon", r"don'?t wait", r"now or never", r"(?:almost|nearly) over", r"ends? at midnight",
        r"last day",
        r"while it lasts", r"time is (?:short|running)", r"this week(?:end)? only",
        r"until (?:today|tonight|tomorrow)",
    ),
    "de": (
        r"nur heute", r"nur noch (?:heute|morgen|kurz|wenige)", r"letzte chance", r"beeil\p{L}*", r"jetzt zuschlagen",
        r"endet (?:bald|heute|morgen|um mitternacht)", r"(?:bald|fast) vorbei", r"letzter tag",
        r"läuft (?:bald|heute|morgen)? ?ab", r"schnell sein", r"nicht verpassen",
        r"nicht entgehen", r"nur für kurze zeit", r"bis (?:heute|morgen)",
    ),
    "es": (
        r"date prisa", r"apresúr\p{L}+", r"última oportunidad", r"últim[oa]s (?:horas|días)",
        r"s[oó]lo (?:por )?hoy", r"último día",
        r"termina (?:pronto|hoy|mañana)", r"acaba (?:pronto|hoy|mañana)", r"no te lo pierdas", r"por tiempo limitado",
        r"hasta (?:hoy|mañana)",
    ),
    "fr": (
        r"dernière chance", r"dernier(?:s|ères)? (?:jours?|heures?)", r"vite", r"dépêchez\p{L}*",
        r"aujourd'hui seulement",
        r"se termine (?:bientôt|aujourd'hui|demain)", r"ne (?:le )?manquez pas", r"ne ratez pas", r"durée limitée",
        r"bientôt (?:finie?s?|terminée?s?)",
        r"jusqu'à (?:aujourd'hui|demain)",
    ),
    "ms": (
        r"cepat", r"segera tamat", r"peluang terakhir", r"hari ini sahaja", r"jangan lepaskan", r"masa terhad",
        r"tamat (?:hari ini|esok|tidak lama lagi)",
    ),
    "id": (
        r"buruan", r"cepat(?:an)? (?:pesan|beli|dapatkan|sebelum)", r"segera berakhir", r"kesempatan terakhir",
        r"(?:hari|jam) terakhir", r"hari ini saja", r"hanya hari ini", r"waktu terbatas",
        r"jangan (?:sampai )?(?:lewatkan|ketinggalan|kehabisan|terlewat)",
        r"(?:berakhir|sampai|hingga) (?:hari ini|malam ini|besok)",
    ),
    "th": (
        r"ด่วน", r"รีบ", r"โอกาสสุดท้าย", r"วันนี้เท่านั้น", r"วันสุดท้าย",
        r"หมดเขต(?:เร็วๆ ?นี้|วันนี้|พรุ่งนี้)", r"อย่าพลาด",
        r"เวลาจำกัด",
    ),
}  # fmt: skip

# Day names that end an offer when they are read later; a stored text cannot know its day of reading.
FLOATING_DAYS: dict[str, tuple[str, ...]] = {
    "en": (r"today", r"tonight", r"tomorrow", r"midnight", r"this week(?:end)?"),
    "de": (r"heute", r"morgen", r"mitternacht", r"dieses wochenende"),
    "es": (r"hoy", r"mañana", r"este fin de semana"),
    "fr": (r"aujourd'hui", r"demain", r"ce week-end"),
    "ms": (r"hari ini", r"esok", r"hujung minggu ini"),
    "id": (r"hari ini", r"malam ini", r"besok", r"akhir pekan ini"),
    "th": (r"วันนี้", r"พรุ่งนี้", r"สุดสัปดาห์นี้"),
}

DEADLINE_WORDS = (
    "until", "till", "through", "by", "before", "ends", "ends on", "ending", "expires", "expires on", "bis", "bis zum",
    "endet am", "endet", "spätestens", "hasta", "hasta el", "antes del", "termina el", "jusqu'au", "jusqu'à",
    "avant le", "expire le", "sehingga", "hingga", "sebelum", "tamat", "tamat pada", "sampai", "sampai dengan",
    "berakhir", "berakhir pada", "paling lambat", "ถึง", "ภายใน", "ก่อน",
    "หมดเขต", "สิ้นสุด",
)  # fmt: skip

OPT_OUT = (
    r"(?<!\p{L})stop(?!\p{L})", r"opt[- ]?out", r"unsub\p{L}*", r"abbestell\p{L}+", r"abmeld\p{L}+", r"darse de baja",
    r"baja", r"désabonn\p{L}+", r"désinscri\p{L}+", r"berhenti", r"henti\p{L}*", r"batal(?:kan)? (?:ber)?langganan",
    r"ยกเลิก", r"เลิกรับ",
)  # fmt: skip


@lru_cache(maxsize=128)
def pattern(table: str, language: str) -> regex.Pattern[str]:
    """Finds `CLAIMS`, `URGENCY` or `FLOATING_DAYS` of a language, with the English ones, in `plain` text."""
    lists = {"claims": CLAIMS, "urgency": URGENCY, "floating": FLOATING_DAYS}[table]
    parts = dict.fromkeys((*lists["en"], *lists.get(language, ())))
    return regex.compile("|".join(_bounded(one_form(part)) for part in parts), regex.IGNORECASE)


def _bounded(part: str) -> str:
    """Latin expressions start and end at word boundaries; Thai has no spaces to tell by."""
    if part.startswith("(?<") or regex.match(r"\p{Thai}", part):
        return part
    return rf"(?<!\p{{L}})(?:{part})(?!\p{{L}})"


OPT_OUT_PATTERN = regex.compile("|".join(OPT_OUT), regex.IGNORECASE)
