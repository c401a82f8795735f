"""Language codes: what is one, what was meant by what is none, and which of them a file's name holds.

A code is an ISO 639-1 code, or an ISO 639-3 code where there is no shorter one, with subtags as in BCP 47 ("pt-br",
"zh-hant"); "x-name" is a language of one's own. Always lower case, so that one language has one name.
"""

import difflib
import re
from pathlib import Path

from kakehashi.errors import UserError

# ISO 639-1, the codes of three letters for the same language (ISO 639-2/T, then /B), and its English name.
_TABLE = """
    aa=aar/Afar ab=abk/Abkhazian ae=ave/Avestan af=afr/Afrikaans ak=aka/Akan am=amh/Amharic an=arg/Aragonese
    ar=ara/Arabic as=asm/Assamese av=ava/Avaric ay=aym/Aymara az=aze/Azerbaijani ba=bak/Bashkir be=bel/Belarusian
    bg=bul/Bulgarian bi=bis/Bislama bm=bam/Bambara bn=ben/Bengali bo=bod/tib/Tibetan br=bre/Breton bs=bos/Bosnian
    ca=cat/Catalan ce=che/Chechen ch=cha/Chamorro co=cos/Corsican cr=cre/Cree cs=ces/cze/Czech
    cu=chu/Church_Slavonic cv=chv/Chuvash cy=cym/wel/Welsh da=dan/Danish de=deu/ger/German dv=div/Divehi
    dz=dzo/Dzongkha ee=ewe/Ewe el=ell/gre/Greek en=eng/English eo=epo/Esperanto es=spa/Spanish et=est/Estonian
    eu=eus/baq/Basque fa=fas/per/Persian ff=ful/Fulah fi=fin/Finnish fj=fij/Fijian fo=fao/Faroese fr=fra/fre/French
    fy=fry/Frisian ga=gle/Irish gd=gla/Gaelic gl=glg/Galician gn=grn/Guarani gu=guj/Gujarati gv=glv/Manx
    ha=hau/Hausa he=heb/Hebrew hi=hin/Hindi ho=hmo/Hiri_Motu hr=hrv/Croatian ht=hat/Haitian hu=hun/Hungarian
    hy=hye/arm/Armenian hz=her/Herero ia=ina/Interlingua id=ind/Indonesian ie=ile/Interlingue ig=ibo/Igbo
    ii=iii/Nuosu ik=ipk/Inupiaq io=ido/Ido is=isl/ice/Icelandic it=ita/Italian iu=iku/Inuktitut ja=jpn/Japanese
    jv=jav/Javanese ka=kat/geo/Georgian kg=kon/Kongo ki=kik/Kikuyu kj=kua/Kuanyama kk=kaz/Kazakh kl=kal/Greenlandic
    km=khm/Khmer kn=kan/Kannada ko=kor/Korean kr=kau/Kanuri ks=kas/Kashmiri ku=kur/Kurdish kv=kom/Komi
    kw=cor/Cornish ky=kir/Kyrgyz la=lat/Latin lb=ltz/Luxembourgish lg=lug/Ganda li=lim/Limburgish ln=lin/Lingala
    lo=lao/Lao lt=lit/Lithuanian lu=lub/Luba-Katanga lv=lav/Latvian mg=mlg/Malagasy mh=mah/Marshallese
    mi=mri/mao/Maori mk=mkd/mac/Macedonian ml=mal/Malayalam mn=mon/Mongolian mr=mar/Marathi ms=msa/may/Malay
    mt=mlt/Maltese my=mya/bur/Burmese na=nau/Nauru nb=nob/Bokmål nd=nde/North_Ndebele ne=nep/Nepali ng=ndo/Ndonga
    nl=nld/dut/Dutch nn=nno/Nynorsk no=nor/Norwegian nr=nbl/South_Ndebele nv=nav/Navajo ny=nya/Chichewa
    oc=oci/Occitan oj=oji/Ojibwa om=orm/Oromo or=ori/Oriya os=oss/Ossetian pa=pan/Punjabi pi=pli/Pali pl=pol/Polish
    ps=pus/Pashto pt=por/Portuguese qu=que/Quechua rm=roh/Romansh rn=run/Rundi ro=ron/rum/Romanian ru=rus/Russian
    rw=kin/Kinyarwanda sa=san/Sanskrit sc=srd/Sardinian sd=snd/Sindhi se=sme/Northern_Sami sg=sag/Sango
    si=sin/Sinhala sk=slk/slo/Slovak sl=slv/Slovenian sm=smo/Samoan sn=sna/Shona so=som/Somali sq=sqi/alb/Albanian
    sr=srp/Serbian ss=ssw/Swati st=sot/Sotho su=sun/Sundanese sv=swe/Swedish sw=swa/Swahili ta=tam/Tamil
    te=tel/Telugu tg=tgk/Tajik th=tha/Thai ti=tir/Tigrinya tk=tuk/Turkmen tl=tgl/Tagalog tn=tsn/Tswana to=ton/Tongan
    tr=tur/Turkish ts=tso/Tsonga tt=tat/Tatar tw=twi/Twi ty=tah/Tahitian ug=uig/Uyghur uk=ukr/Ukrainian ur=urd/Urdu
    uz=uzb/Uzbek ve=ven/Venda vi=vie/Vietnamese vo=vol/Volapük wa=wln/Walloon wo=wol/Wolof xh=xho/Xhosa
    yi=yid/Yiddish yo=yor/Yoruba za=zha/Zhuang zh=zho/chi/Chinese zu=zul/Zulu
"""
# Codes of countries, written by mistake, where they are not the code of another language.
_COUNTRIES = "cn=zh cz=cs dk=da gb=en gr=el jp=ja ua=uk us=en vn=vi"


def _split(rows: str) -> dict[str, str]:
    return {key: value.replace("_", " ") for key, _, value in (row.partition("=") for row in rows.split())}


NAMES = {code: others.split("/")[-1] for code, others in _split(_TABLE).items()}
_MEANT = _split(_COUNTRIES) | {
    name.lower(): code for code, others in _split(_TABLE).items() for name in others.split("/")
}

ARGOS = {"pt-br": "pb", "zh-hans": "zh", "zh-hant": "zt"}
"""Where Argos Translate and LibreTranslate have a short code of their own for ours."""

_TAG = re.compile(r"([a-z]{2,3})(-[a-z0-9]{2,8})*", re.ASCII)
_PRIVATE = re.compile(r"x(-[a-z0-9]{1,8})+", re.ASCII)
# Subtags in the names of files: a script, or a region, but no language, for en-de names two (br and tw are both).
_GUESSED = re.compile(r"(?P<code>[a-z]{2})(-(?P<sub>hans|hant|latn|cyrl|arab|deva|[a-z]{2}))?", re.ASCII)
_REGIONS = {"br", "tw"}
_NOT_NAMING = {".gz", ".zst", ".txt", ".text", ".tsv", ".jsonl", ".raw", ".tok", ".clean"}


_UNSPACED = frozenset({"ja", "zh", "yue", "th", "lo", "km", "my"})


def unsubtagged(code: str) -> str:
    """The language of a code without script and region: "pt" of "pt-BR"."""
    return re.split("[-_]", code.lower())[0]


def is_unspaced(code: str) -> bool:
    """Whether the language puts no space between sentences."""
    return unsubtagged(code) in _UNSPACED


def language_code(text: str) -> str:
    """The code in lower case. Raises UserError, with the code that may be meant, when it is none.

    Three letters are taken on trust, unless they stand for a language that has two.
    """
    code = text.lower()
    tag = _TAG.fullmatch(code)
    if _PRIVATE.fullmatch(code) or (tag and (tag[1] in NAMES or (len(tag[1]) == 3 and tag[1] not in _MEANT))):
        return code
    meant = _meant(code)
    hint = f"; did you mean {meant!r}?" if meant else ":"
    raise UserError(
        f"{text!r} is not a language code{hint} Write ISO 639-1 as en or ja, with a subtag if need be (pt-br), "
        "three letters where a language has no two (ain), or x-NAME for a language of your own"
    )


def guess_language(path: Path) -> str | None:
    """The language that a name ends with (train.en.gz, data_en.txt, corpus.en-de.de) or that its folder has (en/a.txt).

    Only those of ISO 639-1, since any word of three letters may be the code of some language.
    """
    last = _stem(path).split(".")[-1]
    return next(filter(_is_known, (last, re.split("[_-]", last)[-1], path.parent.name.lower())), None)


def guess_languages(path: Path) -> tuple[str | None, str | None]:
    """Source and target of a file that holds both: corpus.en-ja.tsv, en_ja.jsonl."""
    words = re.split("[._-]", _stem(path))[-2:]
    return (words[0], words[1]) if len(words) == 2 and all(map(_is_known, words)) else (None, None)


def _stem(path: Path) -> str:
    """The name in lower case without the suffixes that only say how the text is kept."""
    name = path.name.lower()
    while (suffix := Path(name).suffix) in _NOT_NAMING:
        name = name.removesuffix(suffix)
    return name


def _is_known(text: str) -> bool:
    tag = _GUESSED.fullmatch(text)
    return tag is not None and tag["code"] in NAMES and (tag["sub"] not in NAMES or tag["sub"] in _REGIONS)


def _meant(text: str) -> str | None:
    """By the same with the right separator (en_us), by another code or the name of the language, or nearly its name."""
    primary = re.split("[_-]", text)[0]
    tag = text.replace("_", "-")
    if _is_known(tag):
        return tag
    near = difflib.get_close_matches(text, [name for name in _MEANT if len(name) > 3], n=1, cutoff=0.8)
    return next((_MEANT[name] for name in (text, primary, *near) if name in _MEANT), None)
