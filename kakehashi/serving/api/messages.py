"""What a server says when it does not do what it was asked, in English and Japanese.

The English of what LibreTranslate says too is its own, to the letter: clients compare it. `{name}` stands for a value.
What a library or a file's reader found is told as they say it, in English.
"""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

Language = Literal["en", "ja"]


class Message(NamedTuple):
    en: str
    ja: str

    def said(self, language: Language, values: Mapping[str, object]) -> str:
        return (self.ja if language == "ja" else self.en).format_map(values)


_RANGE = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?")


def preferred(accepted: str) -> Language:
    """Which of the two a header Accept-Language (RFC 9110, section 12.5.4) likes better; English in doubt."""
    weights: dict[str, float] = {}
    for each in accepted.split(","):
        if found := _RANGE.fullmatch(each):
            primary = found[1].lower()
            weights[primary] = max(weights.get(primary, 0.0), float(found[2] or 1))
    others = weights.get("*", 0.0)
    return "ja" if weights.get("ja", others) > weights.get("en", others) else "en"


BROKEN_REQUEST = Message(
    "The browser (or proxy) sent a request that this server could not understand.",
    "ブラウザー（またはプロキシー）からのリクエストを、サーバーが理解できませんでした。",
)
NO_OBJECT = Message("Invalid JSON format", "JSONの形式が正しくありません")
SLOW_REQUEST = Message("The request took too long to arrive.", "リクエストの受信に時間がかかりすぎました。")
TOO_LARGE = Message(
    "The data value transmitted exceeds the capacity limit.", "送信されたデータが大きさの上限を超えています。"
)
NOT_FOUND = Message("Not Found", "見つかりません")
NO_METHOD = Message("Method Not Allowed", "このメソッドは使えません")

MISSING = Message(
    "Invalid request: missing {name} parameter", "リクエストが正しくありません：パラメーター{name}がありません"
)
NO_TEXT = Message(
    "Invalid request: {name} parameter is not a text or a list of texts",
    "リクエストが正しくありません：パラメーター{name}は文字列か文字列のリストでなければなりません",
)
NO_NUMBER = Message(
    "Invalid request: {name} parameter is not a number",
    "リクエストが正しくありません：パラメーター{name}は数でなければなりません",
)
BLANK = Message(
    "Invalid request: {name} parameter must not be blank",
    "リクエストが正しくありません：パラメーター{name}が空白です",
)
WRONG = Message(
    "Invalid request: {name} parameter {problem}",
    "リクエストが正しくありません：パラメーター{name}に問題があります（{problem}）",
)
INVALID = Message("Invalid request: {problem}", "リクエストが正しくありません（{problem}）")
TOO_MANY_ALTERNATIVES = Message(
    "Invalid request: alternatives parameter must be <= {most}",
    "リクエストが正しくありません：パラメーターalternativesは{most}以下でなければなりません",
)
TOO_LONG = Message(
    "Invalid request: request ({size}) exceeds text limit ({most})",
    "リクエストが正しくありません：リクエスト（{size}）がテキストの上限（{most}）を超えています",
)
TOO_MANY_TERMS = Message(
    "Invalid request: glossary ({size}) exceeds limit ({most})",
    "リクエストが正しくありません：用語集（{size}語）が上限（{most}語）を超えています",
)
NO_MODEL = Message(
    "Invalid request: there is no such model; there are {models}",
    "リクエストが正しくありません：そのモデルはありません。あるのは{models}です",
)
NO_FORMAT = Message("{format} format is not supported", "形式{format}には対応していません")
NO_LANGUAGE = Message("{language} is not supported", "言語{language}には対応していません")
NO_DIRECTION = Message(
    "{target} is not available as a target language from {source}", "{source}から{target}への翻訳はできません"
)

SLOWDOWN = {
    "minute": Message("Slowdown: {limit} per 1 minute", "リクエストが多すぎます：1分に{limit}件までです"),
    "hour": Message("Slowdown: {limit} per 1 hour", "リクエストが多すぎます：1時間に{limit}件までです"),
    "day": Message("Slowdown: {limit} per 1 day", "リクエストが多すぎます：1日に{limit}件までです"),
}
SHUT_OUT = Message("Too many request limits violations", "リクエストの上限を何度も超えたため、受け付けられません")
WRONG_KEY = Message("Invalid API key", "APIキーが正しくありません")
KEY_FROM_LINK = Message("Visit {link} to get an API key", "APIキーは{link}で取得してください")
KEY_FROM_OPERATOR = Message(
    "Please contact the server operator to get an API key", "APIキーについては、サーバーの管理者に問い合わせてください"
)
NO_BEARER = Message(
    "This needs the header `Authorization: Bearer KEY` with the right key.",
    "正しいキーを、ヘッダー「Authorization: Bearer キー」で送ってください。",
)
NO_REVIEWING = Message("Reviewing is disabled on this server.", "このサーバーでは訂正を確認できません。")
NO_SUGGESTIONS = Message("Suggestions are disabled on this server.", "このサーバーでは訂正を受け付けていません。")
NO_FILES = Message("Files translation are disabled on this server.", "このサーバーではファイルを翻訳できません。")
NO_METRICS = Message("Metrics are disabled on this server.", "このサーバーでは統計を公開していません。")

NO_CORRECTION = Message("There is no correction {number}.", "訂正{number}はありません。")
TWICE = Message(
    "This text has a correction with the same translation already.", "この文には、同じ訳の訂正がすでにあります。"
)
ONE_PAIR = Message(
    "Invalid request: TSV holds one language pair: name source and target",
    "リクエストが正しくありません：TSVには言語の組が1つだけ入ります。sourceとtargetを指定してください",
)
NO_PAIR = Message(
    "Invalid request: TSV names no languages: name source and target",
    "リクエストが正しくありません：TSVには言語が書かれていません。sourceとtargetを指定してください",
)
NO_FILE = Message("There is no such file, or no longer.", "そのファイルはないか、保存期間が過ぎています。")
NO_NAME = Message("Invalid filename", "ファイル名が正しくありません")
NO_KIND = Message(
    "Invalid request: file format not supported", "リクエストが正しくありません：このファイル形式には対応していません"
)
EMPTY_FILE = Message("Invalid request: empty file", "リクエストが正しくありません：ファイルが空です")

BUSY = Message(
    "The server is busy: try again later.", "サーバーが混み合っています。しばらくしてから、もう一度お試しください。"
)
STOPPING = Message(
    "The server is stopping: try again later.",
    "サーバーは停止するところです。しばらくしてから、もう一度お試しください。",
)
FAULT = Message(
    "The server encountered an internal error and was unable to complete your request. "
    "Either the server is overloaded or there is an error in the application.",
    "サーバーの内部でエラーが起き、リクエストを処理できませんでした。"
    "サーバーに負荷がかかりすぎているか、プログラムに誤りがあります。",
)
