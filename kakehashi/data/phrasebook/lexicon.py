"""The words, each in English, Japanese and German, with what their inflection needs."""

from typing import NamedTuple

from kakehashi.data.phrasebook import english, german, japanese
from kakehashi.data.phrasebook.grammar import Words


class Adjective(NamedTuple):
    """In Japanese, the form before a noun (赤い, 緑の, 新鮮な); in German, the stem that takes endings."""

    en: str
    ja: str
    de: str


class Thing(NamedTuple):
    """A countable noun, with its Japanese counter."""

    en: str
    ja: str
    counter: str
    de: german.Noun


class Place(NamedTuple):
    """A building or a public place; `at` is the German preposition, with the dative, for being there."""

    en: str
    ja: str
    at: str
    de: german.Noun

    @property
    def located(self) -> str:
        """ "am Bahnhof", "im Museum": where something happens, in German."""
        return german.after(self.at, german.phrase("der", self.de, "dative"))


class Person(NamedTuple):
    """Who acts; `agreement` is the German verb form, from which the English one follows."""

    en: str
    ja: str
    agreement: german.Agreement
    nominative: str
    accusative: str
    dative: str

    def form(self, first: str, third: str, plural: str) -> str:
        """The one of a verb's three forms that agrees: "am", "is", "are"; "bin", "ist", "sind"."""
        return {"ich": first, "sie": third, "wir": plural}[self.agreement]

    def english(self, plain: str, third: str) -> str:
        """The English verb: `third` for he, she and single persons, `plain` for the others."""
        return self.form(plain, third, plain)

    @property
    def be(self) -> str:
        """The present of English "be"."""
        return self.form("am", "is", "are")

    @property
    def haben(self) -> str:
        """The present of haben."""
        return self.form("habe", "hat", "haben")


class Verb(NamedTuple):
    """A verb with an object (を, accusative)."""

    en: str
    past: str
    ja: japanese.Verb
    infinitive: str
    participle: str


def _things(table: str) -> tuple[Thing, ...]:
    rows = (tuple(cell.strip() for cell in row.split("|")) for row in table.strip().splitlines())
    return tuple(Thing(en, ja, counter, german.noun(de)) for en, ja, counter, de in rows)


def _adjectives(table: str) -> tuple[Adjective, ...]:
    return tuple(Adjective(*(cell.strip() for cell in entry.split("|"))) for entry in table.split(","))


def _places(table: str) -> tuple[Place, ...]:
    rows = (tuple(cell.strip() for cell in row.split("|")) for row in table.strip().splitlines())
    return tuple(Place(en, ja, at, german.noun(de)) for en, ja, at, de in rows)


PLAIN = Adjective("", "", "")
"""No adjective at all."""

COLOURS = _adjectives(
    "red|赤い|rot, blue|青い|blau, white|白い|weiß, black|黒い|schwarz, green|緑の|grün, yellow|黄色い|gelb,"
    "brown|茶色い|braun, gray|灰色の|grau"
)
SIZES = _adjectives("big|大きい|groß, small|小さい|klein")
LOOKS = (*COLOURS, *SIZES, *_adjectives("new|新しい|neu, old|古い|alt"))
BOOKISH = _adjectives("new|新しい|neu, old|古い|alt, thick|厚い|dick, thin|薄い|dünn, interesting|面白い|interessant")
ANIMAL_LOOKS = (
    *SIZES,
    *_adjectives("white|白い|weiß, black|黒い|schwarz, brown|茶色い|braun, young|若い|jung, pretty|きれいな|hübsch"),
)
MOODS = _adjectives("happy|幸せな|glücklich, tired|疲れた|müd, sick|病気の|krank")
FRESH = (*SIZES, *_adjectives("fresh|新鮮な|frisch"))

CLOTHES = _things("""
    coat     | コート   | 着 | der Mantel, Mäntel
    jacket   | 上着     | 着 | die Jacke, Jacken
    dress    | ドレス   | 着 | das Kleid, Kleider
    shirt    | シャツ   | 枚 | das Hemd, Hemden
    skirt    | スカート | 枚 | der Rock, Röcke
    scarf    | スカーフ | 枚 | der Schal, Schals
    hat      | 帽子     | つ | der Hut, Hüte
    bag      | かばん   | つ | die Tasche, Taschen
    umbrella | 傘       | 本 | der Regenschirm, Regenschirme
    tie      | ネクタイ | 本 | die Krawatte, Krawatten
""")
FURNITURE = _things("""
    chair  | 椅子     | 脚 | der Stuhl, Stühle
    table  | テーブル | 台 | der Tisch, Tische
    bed    | ベッド   | 台 | das Bett, Betten
    sofa   | ソファー | 台 | das Sofa, Sofas
    mirror | 鏡       | 枚 | der Spiegel, Spiegel
    lamp   | ランプ   | つ | die Lampe, Lampen
    clock  | 時計     | つ | die Uhr, Uhren
""")
MACHINES = _things("""
    car             | 車     | 台 | das Auto, Autos
    bicycle         | 自転車 | 台 | das Fahrrad, Fahrräder
    camera          | カメラ | 台 | die Kamera, Kameras
    computer        | パソコン | 台 | der Computer, Computer
    washing machine | 洗濯機 | 台 | die Waschmaschine, Waschmaschinen
""")
CROCKERY = _things("""
    cup   | カップ | 個 | die Tasse, Tassen
    plate | 皿     | 枚 | der Teller, Teller
    vase  | 花瓶   | つ | die Vase, Vasen
    box   | 箱     | つ | die Kiste, Kisten
""")
STATIONERY = _things("""
    pen      | ペン   | 本 | der Stift, Stifte
    knife    | ナイフ | 本 | das Messer, Messer
    key      | 鍵     | 本 | der Schlüssel, Schlüssel
    notebook | ノート | 冊 | das Heft, Hefte
    stamp    | 切手   | 枚 | die Briefmarke, Briefmarken
    photo    | 写真   | 枚 | das Foto, Fotos
""")
READING = _things("""
    book       | 本   | 冊 | das Buch, Bücher
    magazine   | 雑誌 | 冊 | die Zeitschrift, Zeitschriften
    dictionary | 辞書 | 冊 | das Wörterbuch, Wörterbücher
    newspaper  | 新聞 | 部 | die Zeitung, Zeitungen
""")
POST = _things("""
    letter   | 手紙   | 通 | der Brief, Briefe
    postcard | はがき | 枚 | die Postkarte, Postkarten
    package  | 小包   | 個 | das Paket, Pakete
""")
FOOD = _things("""
    apple  | りんご   | 個 | der Apfel, Äpfel
    orange | オレンジ | 個 | die Orange, Orangen
    lemon  | レモン   | 個 | die Zitrone, Zitronen
    banana | バナナ   | 本 | die Banane, Bananen
    tomato | トマト   | 個 | die Tomate, Tomaten
    potato | じゃがいも | 個 | die Kartoffel, Kartoffeln
    onion  | 玉ねぎ   | 個 | die Zwiebel, Zwiebeln
    carrot | にんじん | 本 | die Karotte, Karotten
""")
ANIMALS = _things("""
    cat    | 猫   | 匹 | die Katze, Katzen
    dog    | 犬   | 匹 | der Hund, Hunde
    bird   | 鳥   | 羽 | der Vogel, Vögel
    rabbit | うさぎ | 匹 | das Kaninchen, Kaninchen
    horse  | 馬   | 頭 | das Pferd, Pferde
    cow    | 牛   | 頭 | die Kuh, Kühe
    sheep  | 羊   | 頭 | das Schaf, Schafe
    mouse  | ねずみ | 匹 | die Maus, Mäuse
""")
PEOPLE = _things("""
    child | 子ども | 人 | das Kind, Kinder
    woman | 女性   | 人 | die Frau, Frauen
    man   | 男性   | 人 | der Mann, Männer
    girl  | 女の子 | 人 | das Mädchen, Mädchen
    boy   | 男の子 | 人 | der Junge, Jungen
    guest | お客さん | 人 | der Gast, Gäste
""")
GOODS = (*CLOTHES, *FURNITURE, *MACHINES)

SHOPS = _places("""
    market           | 市場     | auf | der Markt
    supermarket      | スーパー | in  | der Supermarkt
    department store | デパート | in  | das Kaufhaus
""")
SIGHTS = _places("""
    museum        | 博物館 | in  | das Museum
    library       | 図書館 | in  | die Bibliothek
    theater       | 劇場   | in  | das Theater
    town hall     | 市役所 | in  | das Rathaus
    castle        | 城     | in  | das Schloss
    church        | 教会   | in  | die Kirche
""")
INSTITUTIONS = _places("""
    university    | 大学   | an  | die Universität
    school        | 学校   | in  | die Schule
    hospital      | 病院   | in  | das Krankenhaus
""")
SERVICES = _places("""
    bank          | 銀行   | in | die Bank
    post office   | 郵便局 | in | die Post
    pharmacy      | 薬局   | in | die Apotheke
    bakery        | パン屋 | in | die Bäckerei
    bookstore     | 本屋   | in | die Buchhandlung
    café          | 喫茶店 | in | das Café
    restaurant    | レストラン | in | das Restaurant
    hotel         | ホテル | in | das Hotel
""")
OUTDOORS = _places("""
    station       | 駅     | an | der Bahnhof
    airport       | 空港   | an | der Flughafen
    bus stop      | バス停 | an | die Bushaltestelle
    park          | 公園   | in | der Park
    zoo           | 動物園 | in | der Zoo
""")
PLACES = (*SHOPS, *SIGHTS, *INSTITUTIONS, *SERVICES, *OUTDOORS)

CITIES = (
    Words("Tokyo", "東京", "Tokio"),
    Words("Osaka", "大阪", "Osaka"),
    Words("Kyoto", "京都", "Kyoto"),
    Words("Berlin", "ベルリン", "Berlin"),
    Words("Munich", "ミュンヘン", "München"),
    Words("Cologne", "ケルン", "Köln"),
    Words("Hamburg", "ハンブルク", "Hamburg"),
    Words("Vienna", "ウィーン", "Wien"),
    Words("Zurich", "チューリッヒ", "Zürich"),
    Words("Geneva", "ジュネーブ", "Genf"),
    Words("Prague", "プラハ", "Prag"),
    Words("Warsaw", "ワルシャワ", "Warschau"),
    Words("Rome", "ローマ", "Rom"),
    Words("Paris", "パリ", "Paris"),
)
JAPANESE_CITIES, EUROPEAN_CITIES = CITIES[:3], CITIES[3:]


def _relative(en: str, ja: str, entry: str, adjective: str = "") -> Person:
    noun = german.noun(entry)
    return Person(
        f"my {en}",
        ja,
        "sie",
        german.phrase("mein", noun, "nominative", adjective),
        german.phrase("mein", noun, "accusative", adjective),
        german.phrase("mein", noun, "dative", adjective),
    )


SPEAKERS = (
    Person("I", "私", "ich", "ich", "mich", "mir"),
    Person("we", "私たち", "wir", "wir", "uns", "uns"),
)
PRONOUNS = (
    Person("he", "彼", "sie", "er", "ihn", "ihm"),
    Person("she", "彼女", "sie", "sie", "sie", "ihr"),
    Person("they", "彼ら", "wir", "sie", "sie", "ihnen"),
)
FAMILY = (
    _relative("mother", "母", "die Mutter"),
    _relative("father", "父", "der Vater"),
    _relative("grandmother", "祖母", "die Großmutter"),
    _relative("grandfather", "祖父", "der Großvater"),
    _relative("daughter", "娘", "die Tochter"),
    _relative("son", "息子", "der Sohn"),
    _relative("aunt", "おば", "die Tante"),
    _relative("uncle", "おじ", "der Onkel"),
    _relative("older brother", "兄", "der Bruder", "älter"),
    _relative("younger sister", "妹", "die Schwester", "jünger"),
)
NAMED = (
    Person("Mr. Tanaka", "田中さん", "sie", "Herr Tanaka", "Herrn Tanaka", "Herrn Tanaka"),
    Person("Mr. Weber", "ウェーバーさん", "sie", "Herr Weber", "Herrn Weber", "Herrn Weber"),
    Person("Ms. Sato", "佐藤さん", "sie", "Frau Sato", "Frau Sato", "Frau Sato"),
    Person("Ms. Schmidt", "シュミットさん", "sie", "Frau Schmidt", "Frau Schmidt", "Frau Schmidt"),
)
GROUPS = (
    Person("my parents", "両親", "wir", "meine Eltern", "meine Eltern", "meinen Eltern"),
    Person("the children", "子どもたち", "wir", "die Kinder", "die Kinder", "den Kindern"),
)
OTHERS = (*FAMILY, *NAMED)
EVERYONE = (*SPEAKERS, *PRONOUNS, *OTHERS, *GROUPS)

BUY = Verb("buy", "bought", japanese.godan("買", "わいう", "って"), "kaufen", "gekauft")
SELL = Verb("sell", "sold", japanese.godan("売", "らりる", "って"), "verkaufen", "verkauft")
FIND = Verb("find", "found", japanese.ichidan("見つけ"), "finden", "gefunden")
LOSE = Verb("lose", "lost", japanese.godan("なく", "さしす", "して"), "verlieren", "verloren")
SEE = Verb("see", "saw", japanese.ichidan("見"), "sehen", "gesehen")
READ = Verb("read", "read", japanese.godan("読", "まみむ", "んで"), "lesen", "gelesen")
SEND = Verb("send", "sent", japanese.godan("送", "らりる", "って"), "schicken", "geschickt")
BORROW = Verb("borrow", "borrowed", japanese.ichidan("借り"), "ausleihen", "ausgeliehen")
PICK_UP = Verb("pick up", "picked up", japanese.godan("受け取", "らりる", "って"), "abholen", "abgeholt")
WASH = Verb("wash", "washed", japanese.godan("洗", "わいう", "って"), "waschen", "gewaschen")
REPAIR = Verb("repair", "repaired", japanese.suru("修理"), "reparieren", "repariert")


def some(number: int, adjective: Adjective, thing: Thing) -> Words:
    """An indefinite object: "three red apples", 赤いりんごを3個, "drei rote Äpfel" (accusative)."""
    return Words(
        english.counted(number, thing.en, adjective.en),
        f"{adjective.ja}{thing.ja}を{japanese.counted(number, thing.counter)}",
        german.counted(number, thing.de, "accusative", adjective.de),
    )


def the(adjective: Adjective, thing: Thing, case: german.Case) -> Words:
    """A definite noun phrase: "the red apple", 赤いりんご, "der rote Apfel"; the case is the German one's."""
    return Words(
        english.spaced("the", adjective.en, thing.en),
        f"{adjective.ja}{thing.ja}",
        german.phrase("der", thing.de, case, adjective.de),
    )
