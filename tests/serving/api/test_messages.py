"""Messages in two languages, and that nothing is refused without one of them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from kakehashi.serving.api import messages
from kakehashi.serving.api.messages import Message, preferred
from tests.serving.api.conftest import Serve, Site

API = Path(messages.__file__).parent
CATALOGUE = {
    f"{name} {key}".strip(): message
    for name, value in vars(messages).items()
    for key, message in (value.items() if isinstance(value, dict) else [("", value)])
    if isinstance(message, Message)
}
JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")


def fields(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("name", CATALOGUE)
def test_both_languages_say_it_with_the_same_values(name: str) -> None:
    message = CATALOGUE[name]
    assert fields(message.en) == fields(message.ja) and "" not in fields(message.en)
    assert message.en.isascii() and JAPANESE.search(message.ja)


def test_there_are_messages_and_no_two_are_alike() -> None:
    assert len(CATALOGUE) > 30
    assert (
        len({message.en for message in CATALOGUE.values()}) == len({m.ja for m in CATALOGUE.values()}) == len(CATALOGUE)
    )


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    for path in API.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield f"{path.name}:{node.lineno}", node


def test_every_refusal_is_a_message_with_its_values() -> None:
    """Where the message is named in the call, all its values stand there too; and each message is used."""
    used = set[str]()
    for place, call in [*calls("Refusal"), *calls("later")]:
        given = {keyword.arg for keyword in call.keywords} - {"headers"}
        for node in ast.walk(call.args[1]):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "messages":
                used.add(node.attr)
                for name, message in CATALOGUE.items():
                    if name.split()[0] == node.attr:
                        assert given >= set(fields(message.en)), place
        assert not any(isinstance(node, ast.Constant | ast.JoinedStr) for node in ast.walk(call.args[1])), place
    named = set(re.findall(r"\bmessages\.([A-Z_]+)", "".join(path.read_text("utf-8") for path in API.glob("*.py"))))
    assert used <= named == {name.split()[0] for name in CATALOGUE}


def test_errors_are_written_in_one_place() -> None:
    assert [path.name for path in API.glob("*.py") if '{"error":' in path.read_text("utf-8")] == ["refusals.py"]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("ja", "ja"),
        ("JA-jp,en-US;q=0.9", "ja"),
        ("en,ja;q=0.9", "en"),
        ("en;q=0.3, ja;q=0.4", "ja"),
        ("fr, ja;q=0.1", "ja"),
        ("fr", "en"),
        ("*", "en"),
        ("*, ja;q=0.5", "en"),
        ("*;q=0.1, ja;q=0.5", "ja"),
        ("*, en;q=0", "ja"),
        ("ja;q=0", "en"),
        ("ja;q=2, en;q=x, ;;,", "en"),
        ("jam", "en"),
    ],
)
def test_the_language_that_a_client_prefers(accepted: str, language: str) -> None:
    assert preferred(accepted) == language


def asked(site: Site, path: str, accepted: str, method: str = "POST", **arguments: Any) -> tuple[int, str]:
    response = site.request(method, path, headers={"Accept-Language": accepted}, **arguments)
    assert response.headers["Content-Language"] == accepted and "Accept-Language" in response.headers["Vary"]
    return response.status_code, response.json()["error"]


@pytest.mark.parametrize(
    ("path", "method", "arguments", "said"),
    [
        ("/translate", "POST", {}, "パラメーターqがありません"),
        ("/translate", "POST", {"json": {"q": 5, "source": "en", "target": "de"}}, "文字列か文字列のリスト"),
        ("/translate", "POST", {"json": {"q": "a", "source": "xx", "target": "de"}}, "言語xxには対応していません"),
        ("/translate", "POST", {"json": {"q": "a" * 99, "source": "en", "target": "de"}}, "リクエスト（99）"),
        ("/suggest", "POST", {"json": {"q": "a", "s": " ", "source": "en", "target": "de"}}, "パラメーターsが空白です"),
        ("/translate", "POST", {"json": {"q": "a", "source": "en", "target": "de", "words": 5}}, "（should be a valid"),
        ("/translate", "GET", {}, "メソッド"),
        ("/nothing", "GET", {}, "見つかりません"),
        ("/corrections", "GET", {}, "確認できません"),
        ("/translate", "POST", {"data": "x" * 3_000}, "上限を超えています"),
    ],
)
def test_errors_in_japanese(serve: Serve, path: str, method: str, arguments: dict[str, Any], said: str) -> None:
    site = serve(limits={"characters": 50, "body": 2_000})
    status, japanese = asked(site, path, "ja", method, **arguments)
    assert said in japanese
    english = asked(site, path, "en", method, **arguments)
    assert english[0] == status >= 400 and english[1].isascii()
