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
        r"free[- ]of[- ]charge",
        r"(?:no|zero|without) (?:(?:extra|additional|any|hidden|further|shipping|delivery|service) ){0,2}"
        r"(?:cost|charge|fee)s?",
        r"(?:tax|vat|duty|interest|fee|cost|commission|postage|shipping)[- ]free", r"no (?:vat|tax|interest)(?! in)",
        r"costs? (?:you )?(?:nothing|(?:a |one )?(?:penny|cent|thing))", r"pay nothing", r"nothing to pay",
        r"not a (?:cent|penny)",
        r"(?:is|are|'s|pair|one|shipping|delivery) on us", r"(?:shipping|delivery|postage) included",
        r"complimentary", r"for nothing", r"on the house",
        r"(?:absolutely|completely) free", r"\bgratis\b",
        r"best prices?", r"lowest prices?", r"cheapest", r"best deals?", r"best offers?", r"unbeatable", r"unmatched",
        r"price match",
        r"best \p{L}+ (?:ever|in town|anywhere|around|on the market|of the year)", r"nobody (?:is cheaper|beats)",
        r"(?:find|get) (?:it|them) cheaper", r"(?:lowest|biggest) (?:\p{L}+ )?(?:of the year|ever)",
        r"guarantee[ds]?", r"risk[- ]free", r"(?:no|zero|without(?: any)?) risks?", r"money[- ]back",
        r"refund\p{L}*", r"warrant(?:y|ies)", r"cash[- ]?back", r"no\.? ?1\b", r"#\s?1\b", r"number one",
        r"world'?s (?:best|first|leading)", r"best in the world", r"half[- ]price", r"half off",
        r"(?:in|by) half", r"halved?", r"(?:doubl|tripl)e (?:your |the )?(?:discount|points|savings|rewards)",
        r"(?:two|three|four|five|ten) times (?:the|as many|more)",
        r"half (?:of )?(?:the|its|their) (?:\p{L}+ )?price",
        r"(?:two[- ]thirds|three[- ]quarters|third|quarter|fifth|tenth) (?:off|cheaper)",
        r"buy one,? get one", r"bogof?", r"2[- ]for[- ]1",
        r"(?:two|three|four)[- ]for[- ](?:the price of )?(?:one|two|three)",
        r"you(?:'ve| have)? won(?!')", r"winner", r"you(?:'ve| have) been (?:selected|chosen)",
        r"claim your (?:prize|reward|gift|winnings)",
        r"win (?:an?|your|the|big)", r"prizes?", r"award[- ]winning", r"top[- ]rated",
        r"(?:clinically|scientifically|dermatologically|laboratory|lab)[- ](?:proven|tested)", r"proven to",
        r"voted (?:the |as )?(?:best|number|no)",
        r"(?:doctor|dermatologist|expert)s?[- ](?:recommend(?:ed|s)?|tested|approved)",
        r"recommended by (?:doctor|dermatologist|expert)s", r"cures?\b", r"heals?\b", r"100% natural",
        r"while (?:stocks?|supplies) lasts?", r"limited (?:stock|supply|edition|quantit(?:y|ies))",
        r"only (?:one|two|three|four|five|a handful) (?:\p{L}+ )?left", r"(?:two|three|four|five) (?:\p{L}+ )?left",
        r"(?:thousands|millions|hundreds) (?:of (?:\p{L}+ )?(?:customers|people|buyers|fans)|sold)",
        r"(?:million|thousand) sold",
        r"five[- ]stars?", r"selling (?:out )?fast",
        r"(?:almost|nearly) (?:gone|sold out)", r"only a few left", r"last (?:few|pieces|items)",
        r"once in a lifetime", r"never again", r"biggest sale", r"exclusive(?:ly)? for you",
    ),
    "de": (
        r"gratis\p{L}*", r"kostenlos\p{L}*", r"\p{L}*(?:kosten|gebühren|porto|zins|steuer)frei\p{L}*", r"frei haus",
        r"nulltarif",
        r"ohne (?:aufpreis|\p{L}*kosten|risiko)", r"(?:geht|gehen) (?:auf uns|aufs haus)", r"geschenk (?:für sie|dazu)",
        r"testsieger\p{L}*", r"(?:zwei|drei|vier) zum preis von (?:einem|zweien|dreien)",
        r"(?:2|zwei|drei|vier) für (?:1|eins?|zwei|drei)", r"bekommen sie eins dazu",
        r"(?:doppel|dreifach|zehnfach)te?[rsn]? (?:rabatt|punkte)",
        r"(?:dreifach|zehnfach)e[rsn]? (?:rabatt|punkte)", r"umsonst", r"geschenkt",
        r"bestpreis\p{L}*", r"beste[rns]? (?:preis\p{L}*|angebot\p{L}*|qualität)",
        r"(?:dauer)?tief(?:st)?preis\p{L}*", r"niedrigste[rn]? preis\p{L}*", r"(?:günstig|billig)ste\p{L}*",
        r"niemand ist (?:günstig|billig)er",
        r"konkurrenzlos\p{L}*", r"gewährleistung", r"risikolos\p{L}*", r"unschlagbar\p{L}*", r"garant\p{L}+",
        r"risikofrei", r"geld[- ]zurück", r"nr\. ?1\b", r"nummer eins", r"halbe[rmn]? preis", r"zum halben preis",
        r"gewonnen", r"gewinner\p{L}*", r"ihr gewinn",
        r"(?:klinisch|wissenschaftlich|dermatologisch) (?:getestet|bewiesen|belegt)",
        r"nachweislich", r"ärzten empfohlen", r"stiftung warentest", r"heil(?:t|en)", r"solange (?:der )?vorrat reicht",
        r"nur noch (?:wenige|zwei|drei|vier|fünf)", r"letzte stücke?", r"fast ausverkauft",
        r"begrenzte (?:menge|stückzahl)",
        r"limitierte\p{L}*", r"einmalig\p{L}*", r"exklusiv für sie",
        r"(?:tausende|millionen) (?:\p{L}+ )?(?:kund\p{L}+|verkauft)",
        r"million(?:en)? verkauft", r"fünf sterne", r"halbiert\p{L}*",
        r"spar\p{L}+ (?:sie )?die hälfte",
        r"(?:die hälfte|(?:(?:ein|zwei) )?drittel|(?:(?:ein|drei) )?viertel|(?:ein )?(?:fünftel|zehntel)) "
        r"(?:weniger|günstiger|billiger|reduziert|gespart|sparen|rabatt)",
    ),
    "es": (
        r"(?<!\p{L})gratis", r"gratuit[oa]s?", r"de regalo", r"un regalo", r"te (?:lo |la |los |las )?regalamos",
        r"regalo seguro", r"sin (?:cost[eo]s?|cargo|gastos|intereses|iva)", r"(?:envío|portes) incluidos?",
        r"libre de impuestos", r"corre (?:de|por) nuestra cuenta", r"mejor(?:es)? precios?", r"mejor valorad\p{L}+",
        r"precios? más bajos?", r"insuperable\p{L}*", r"devolución (?:del|de tu) dinero", r"devolvemos",
        r"más barat[oa]s?", r"garant[ií]\p{L}*", r"imbatible", r"sin riesgos?", r"número uno", r"n\.?º ?1",
        r"mitad del? precio", r"por la mitad", r"(?:doble|triple) (?:descuento|puntos)",
        r"(?:el|los) (?:doble|triple) de",
        r"(?:dos|tres|cuatro) por (?:uno|dos|tres)", r"2x1", r"llévate otr[oa]", r"has ganado", r"ganaste",
        r"ganador\p{L}*", r"tu premio",
        r"hasta agotar existencias", r"últimas unidades", r"casi agotad\p{L}+",
        r"quedan (?:dos|tres|cuatro|cinco|unos pocos|pocas|pocos)",
        r"edición limitada", r"(?:clínica|científica|dermatológica)mente (?:probad|demostrad|testad)\p{L}+",
        r"recomendad\p{L}+ por (?:médicos|expertos)",
        r"exclusiv[oa] para ti", r"oferta única", r"(?:miles|millones) de (?:clientes|personas)",
        r"millón(?:es)? (?:de )?vendid\p{L}+",
        r"cinco estrellas",
        r"(?:la mitad|un tercio|dos tercios|un cuarto|tres cuartos|un quinto|una quinta parte|un décimo) "
        r"(?:menos|más barat[oa]s?|de descuento)",
    ),
    "fr": (
        r"gratuit\p{L}*", r"offert\p{L}*", r"cadeaux?", r"sans (?:frais|supplément|coût|risques?|intérêts?|tva)",
        r"hors taxes?",
        r"(?:2|deux|trois|quatre) pour (?:1|un|deux|trois|le prix d(?:'un|e (?:deux|trois)))",
        r"(?:deuxième|second\p{L}*|livraison) est pour nous", r"meilleurs? prix",
        r"(?:le |les )?prix les? plus bas", r"(?:le|la|les) moins ch(?:er|ère)s?", r"moins ch(?:er|ère)s? du",
        r"n'est moins cher",
        r"rembours\p{L}*", r"garanti\p{L}*", r"imbattable\p{L}*", r"numéro un", r"n° ?1",
        r"moitié prix", r"moitié du prix", r"(?:réduits?|divisés?) (?:de moitié|par (?:deux|trois))",
        r"(?:doubles?|triples?) (?:remise|points)", r"(?:remise|points) (?:doubl|tripl)ée?s",
        r"(?:remise|réduction) (?:doubl|tripl)ée",
        r"vous avez gagné", r"gagnante?s?", r"votre prix vous attend", r"élue?s? produit",
        r"(?:clinique|scientifique|dermatologique)ment (?:prouv|test)é\p{L}*",
        r"recommandé\p{L}* par (?:les |des )?(?:médecins|experts)",
        r"derni(?:ers? exemplaires?|ères? pièces?)", r"plus que (?:deux|trois|quatre|cinq|quelques)",
        r"(?:stock|édition)s? limitée?s?",
        r"dans la limite des stocks", r"presque épuisé\p{L}*", r"(?:milliers|millions) de clients",
        r"million(?:s)? (?:de )?vendus?",
        r"cinq étoiles", r"exclusivement pour vous",
        r"(?:la moitié|un tiers|deux tiers|un quart|trois quarts|un cinquième|un dixième) "
        r"(?:moins chers?|de moins|de réduction|de remise)",
    ),
    "ms": (
        r"percuma", r"hadiah", r"(?:tanpa|tiada|bebas) (?:kos|caj|bayaran|risiko|cukai|faedah)", r"harga terbaik",
        r"harga (?:paling rendah|terendah)",
        r"paling murah", r"termurah", r"tiada (?:yang lebih murah|tandingan)", r"terbaik di dunia",
        r"dijamin", r"jaminan", r"garansi", r"waranti", r"(?:wang dikembalikan|pulangan (?:wang|tunai))",
        r"nombor satu", r"no\.? ?1\b",
        r"separuh harga", r"harga separuh", r"beli satu", r"beli dua,? dapat", r"(?:dua|tiga) untuk (?:satu|dua)",
        r"(?:diskaun|mata) berganda", r"gandakan (?:diskaun|mata|ganjaran)",
        r"kali mata", r"anda (?:menang|pemenang|terpilih)", r"(?:selagi|sementara) stok (?:masih )?ada",
        r"(?:stok|edisi) terhad", r"hampir habis",
        r"tinggal (?:dua|tiga|empat|lima)", r"terbukti secara (?:klinikal|saintifik)", r"disyorkan (?:oleh )?doktor",
        r"menyembuhkan",
        r"(?:ribu|juta)(?:[- ]ribu)? (?:pelanggan|terjual)", r"beribu-ribu pelanggan", r"sejuta terjual",
        r"lima bintang",
        r"diskaun (?:separuh|satu pertiga|sepertiga|dua pertiga|suku|tiga suku|seperlima|sepersepuluh)",
        r"(?:separuh|satu pertiga|sepertiga|dua pertiga|suku|tiga suku|seperlima|sepersepuluh) lebih murah",
    ),
    "id": (
        r"cuma[- ]cuma", r"tanpa (?:biaya|ongkos|bunga|pajak)", r"bebas (?:biaya|ongkir|pajak|risiko)",
        r"tidak (?:dipungut biaya|perlu bayar)",
        r"hadiah", r"harga terbaik", r"harga (?:paling rendah|terendah)", r"tidak ada yang lebih murah",
        r"harga setengah",
        r"(?:dua|tiga) untuk (?:satu|dua)", r"beli (?:dua|tiga),? dapat (?:tiga|empat)",
        r"(?:diskon|poin) (?:ganda|dobel)", r"kali poin", r"cashback", r"paling murah", r"termurah",
        r"tak terkalahkan", r"tiada tanding\p{L}*", r"dijamin",
        r"jaminan", r"(?:ber)?garansi\p{L}*", r"tanpa risiko", r"uang (?:anda )?kembali", r"nomor satu", r"no\.? ?1\b",
        r"terbaik di dunia", r"(?:setengah|separuh) harga", r"beli (?:satu|1),? (?:gratis|dapat) (?:satu|dua|1|2)",
        r"anda (?:menang|pemenang\p{L}*|terpilih)", r"selama (?:persediaan|stok) masih ada",
        r"(?:stok|jumlah|persediaan|edisi) terbatas", r"hampir habis",
        r"ter(?:bukti|uji)(?: secara)? (?:klinis|ilmiah)",
        r"tinggal (?:dua|tiga|empat|lima)", r"direkomendasikan (?:oleh )?dokter", r"menyembuhkan",
        r"(?:ribuan|jutaan) pelanggan", r"juta terjual",
        r"sejuta terjual", r"bintang lima",
        r"eksklusif untuk (?:anda|kamu)",
        r"(?:diskon|hemat|potongan(?: harga)?) "
        r"(?:setengah|separuh|sepertiga|dua pertiga|seperempat|tiga perempat|seperlima|sepersepuluh)",
        r"(?:setengah|separuh|sepertiga|dua pertiga|seperempat|tiga perempat|seperlima|sepersepuluh) lebih murah",
    ),
    "th": (
        r"ฟรี", r"แถม", r"ไม่มีค่าใช้จ่าย", r"ไม่(?:เสีย|คิด|มี)ค่า(?:ส่ง|จัดส่ง|บริการ)", r"ไม่ต้องจ่าย",
        r"ราคาดีที่สุด", r"ราคาต่ำที่สุด",
        r"ถูกที่สุด", r"ถูกกว่าที่", r"รับประกัน", r"การันตี", r"(?:ไม่มี|ไร้)ความเสี่ยง", r"คืนเงิน", r"เงินคืน",
        r"ปลอด(?:ภาษี|ดอกเบี้ย)", r"ไม่มีดอกเบี้ย",
        r"อันดับ(?:หนึ่ง| ?1)", r"เบอร์(?:หนึ่ง| ?1)", r"ซื้อสองได้สาม", r"(?:ส่วนลด|คะแนน)(?:สอง|สาม|สิบ)เท่า",
        r"พิสูจน์ทาง", r"แพทย์แนะนำ",
        r"ถูกรางวัล", r"ผู้โชคดี", r"เหลือ(?:เพียง)?(?:สอง|สาม|สี่|ห้า|ไม่กี่)", r"จนกว่าสินค้าจะหมด",
        r"ลูกค้า(?:นับ)?(?:พัน|หมื่น|แสน|ล้าน)",
        r"ล้านชิ้น", r"ห้าดาว", r"ครึ่งราคา", r"ลดครึ่งราคา", r"ซื้อ ?1 ?แถม ?1", r"ซื้อหนึ่งแถมหนึ่ง",
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
        r"until (?:today|tonight|tomorrow|(?:the )?end of (?:the |this )?(?:week|month|year))",
        r"this \p{L}+day only", r"one day only", r"end(?:s|ing)? this (?:week|month)",
    ),
    "de": (
        r"nur heute", r"nur noch (?:heute|morgen|kurz|wenige)", r"letzte chance", r"beeil\p{L}*", r"jetzt zuschlagen",
        r"endet (?:bald|heute|morgen|um mitternacht)", r"(?:bald|fast) vorbei", r"letzter tag",
        r"läuft (?:bald|heute|morgen)? ?ab", r"schnell sein", r"nicht verpassen",
        r"nicht entgehen", r"nur für kurze zeit",
        r"bis (?:heute|morgen|(?:zum )?(?:wochen|monats|jahres)ende|(?:zum )?ende (?:dieser |der |dieses |des )"
        r"(?:woche|monats|jahres))",
    ),
    "es": (
        r"date prisa", r"apresúr\p{L}+", r"última oportunidad", r"últim[oa]s (?:horas|días)",
        r"s[oó]lo (?:por )?hoy", r"último día",
        r"termina (?:pronto|hoy|mañana)", r"acaba (?:pronto|hoy|mañana)", r"no te lo pierdas", r"por tiempo limitado",
        r"hasta (?:hoy|mañana|(?:el )?fin(?:al(?:es)?)? de (?:la |este |esta )?(?:semana|mes|año))",
        r"termina esta noche",
    ),
    "fr": (
        r"dernière chance", r"dernier(?:s|ères)? (?:jours?|heures?)", r"vite", r"dépêchez\p{L}*",
        r"aujourd'hui seulement",
        r"se termine (?:bientôt|aujourd'hui|demain)", r"ne (?:le )?manquez pas", r"ne ratez pas", r"durée limitée",
        r"bientôt (?:finie?s?|terminée?s?)",
        r"jusqu'à (?:aujourd'hui|demain|ce soir|(?:la )?fin (?:du mois|de (?:la |cette )?semaine|de l'année))",
        r"seulement aujourd'hui",
    ),
    "ms": (
        r"cepat", r"segera tamat", r"peluang terakhir", r"hari ini sahaja", r"jangan lepaskan", r"masa terhad",
        r"tamat (?:hari ini|esok|tidak lama lagi)",
        r"sehingga (?:hari ini|esok|(?:hujung|akhir) (?:minggu|bulan|tahun))",
    ),
    "id": (
        r"buruan", r"cepat(?:an)? (?:pesan|beli|dapatkan|sebelum)", r"segera berakhir", r"kesempatan terakhir",
        r"(?:hari|jam) terakhir", r"hari ini saja", r"hanya hari ini", r"waktu terbatas",
        r"jangan (?:sampai )?(?:lewatkan|ketinggalan|kehabisan|terlewat)",
        r"(?:berakhir|sampai|hingga) (?:hari ini|malam ini|besok|akhir (?:pekan|minggu|bulan|tahun)(?! \p{Lu}))",
    ),
    "th": (
        r"ด่วน", r"รีบ", r"โอกาสสุดท้าย", r"วันนี้เท่านั้น", r"เฉพาะวันนี้", r"ถึง(?:วันนี้|พรุ่งนี้|สิ้นเดือนนี้)",
        r"วันสุดท้าย",
        r"หมดเขต(?:เร็วๆ ?นี้|วันนี้|พรุ่งนี้)", r"อย่าพลาด",
        r"เวลาจำกัด",
    ),
}  # fmt: skip

# Day names that end an offer when they are read later; a stored text cannot know its day of reading.
FLOATING_DAYS: dict[str, tuple[str, ...]] = {
    "en": (r"today", r"tonight", r"tomorrow", r"midnight", r"this \p{L}+", r"end of .*", r"one day"),
    "de": (r"heute", r"morgen", r"mitternacht", r"dieses wochenende", r"bis .*(?:ende|woche|monats|jahres)"),
    "es": (r"hoy", r"mañana", r"este fin de semana", r"esta noche", r"fin\p{L}* de .*"),
    "fr": (r"aujourd'hui", r"demain", r"ce week-end", r"ce soir", r"fin d.*"),
    "ms": (r"hari ini", r"esok", r"hujung minggu ini", r"(?:hujung|akhir) \p{L}+"),
    "id": (r"hari ini", r"malam ini", r"besok", r"akhir pekan ini", r"akhir \p{L}+"),
    "th": (r"วันนี้", r"พรุ่งนี้", r"สุดสัปดาห์นี้", r"สิ้นเดือนนี้"),
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


AT_HOME = frozenset({r"offert\p{L}*", r"cadeaux?"})
"""Claims in one language that are none in others: Italian `offerte` are offers, a Dutch `cadeau-idee` gives nothing."""


@lru_cache(maxsize=128)
def pattern(table: str, language: str) -> regex.Pattern[str]:
    """Finds `CLAIMS`, `URGENCY` or `FLOATING_DAYS` of a language, with the English ones, in `plain` text.

    Claims of the other languages, too: a model may answer in another one than it was asked for.
    """
    lists = {"claims": CLAIMS, "urgency": URGENCY, "floating": FLOATING_DAYS}[table]
    parts = dict.fromkeys((*lists["en"], *lists.get(language, ())))
    if table == "claims":
        parts |= dict.fromkeys(part for others in lists.values() for part in others if part not in AT_HOME)
    return regex.compile("|".join(_bounded(one_form(part)) for part in parts), regex.IGNORECASE)


def _bounded(part: str) -> str:
    """Latin expressions start and end at word boundaries; Thai has no spaces to tell by."""
    if part.startswith("(?<") or regex.match(r"\p{Thai}", part):
        return part
    return rf"(?<!\p{{L}})(?:{part})(?!\p{{L}})"


OPT_OUT_PATTERN = regex.compile("|".join(OPT_OUT), regex.IGNORECASE)
