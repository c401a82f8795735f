"""What the documents say is so: recipes load, commands parse, links lead somewhere, both languages show the same."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from kakehashi.cli import app
from kakehashi.config import Config, resolve
from kakehashi.decoding import Beam, Decoding
from kakehashi.training.recipe import PRESETS, load_recipe

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "studies").glob("*/*.md")])

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(kakehashi [^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
MENTIONED = re.compile(r"(?<![\w/.*-])(?:kakehashi|configs|tests|docs)/[\w/-]+(?:\.\w+)?")
SHELL = {"sh", "bash", "shell", "console"}


class Block(NamedTuple):
    """A fenced block of a document: its language and its text."""

    place: str
    language: str
    text: str


class Command(NamedTuple):
    """A call of kakehashi; `recipe` is the last one shown before it in its document, or ""."""

    place: str
    arguments: list[str]
    recipe: str


class _OfTranslate(Config):
    decoding: Decoding = Beam()


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    place = document.relative_to(ROOT).as_posix()
    return [
        Block(f"{place}:{text.count(chr(10), 0, match.start()) + 1}", match[1], match[2])
        for match in FENCE.finditer(text)
    ]


def invocations(line: str) -> Iterator[list[str]]:
    """The arguments of each call of kakehashi in a line of shell, without redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split = True
    simple: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|;&"):
            simple.append([])
        else:
            simple[-1].append(word)
    for words in simple:
        names = [PurePosixPath(word).name for word in words]
        if "kakehashi" in names:
            rest = words[names.index("kakehashi") + 1 :]
            cut = [i for i, word in enumerate(rest) if set(word) <= set("<>")]
            yield rest[: cut[0]] if cut else rest


def commands() -> list[Command]:
    found: list[Command] = []
    for document in DOCUMENTS:
        recipe = ""
        for block in blocks(document):
            recipe = block.text if is_recipe(block) else recipe
            lines = block.text.replace("\\\n", " ").splitlines() if block.language in SHELL else []
            typed = [line for line in lines if block.language != "console" or line.startswith("$ ")]
            calls = [arguments for line in typed for arguments in invocations(line.removeprefix("$ "))]
            found += [Command(block.place, arguments, recipe) for arguments in calls]
    return found


def is_recipe(block: Block) -> bool:
    return re.match(r"(base|task):", block.text) is not None


RECIPES = [block for document in DOCUMENTS for block in blocks(document) if is_recipe(block)]
COMMANDS = commands()


def group() -> TyperGroup:
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    return command


def test_there_is_something_to_test() -> None:
    assert len(RECIPES) >= 2 and len(COMMANDS) >= 20


@pytest.mark.parametrize("block", RECIPES, ids=lambda block: block.place)
def test_every_recipe_loads(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAKEHASHI_DATA", "data")
    path = tmp_path / "recipe.yaml"
    path.write_text(block.text, encoding="utf-8")
    assert load_recipe(path).training.steps > 0


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.place} {' '.join(command.arguments)}")
def test_every_command_parses(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAKEHASHI_DATA", "data")
    name, *arguments = [word for word in command.arguments if word != "..."]
    parsed = group().commands[name].make_context(name, list(arguments)).params
    settings = [word for word in arguments if re.match(r"[a-z_]+(\.\w+)*=", word) and not word.startswith("run=")]
    if name == "train" and "..." not in command.arguments and not parsed["source"]:
        path = ROOT / parsed["config"]
        if not path.is_file():
            assert command.recipe, f"no such recipe: {parsed['config']}"
            path = tmp_path / "recipe.yaml"
            path.write_text(command.recipe, encoding="utf-8")
        load_recipe(path, settings)
    elif name == "translate":
        resolve({}, _OfTranslate, settings)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_in_the_text_exist(document: Path) -> None:
    known = group().commands
    for match in INLINE.finditer(FENCE.sub("", document.read_text(encoding="utf-8"))):
        for name, *arguments in invocations(match[1].replace("`", "")):
            options = {option for parameter in known[name].params for option in parameter.opts} | {"--help"}
            assert {word for word in arguments if word.startswith("--")} <= options, match[1]


@pytest.mark.parametrize("name", ["README", "docs/guide"])
def test_both_languages_show_the_same(name: str) -> None:
    def shown(path: Path) -> list[tuple[str, str]]:
        return [(block.language, re.sub(r"\s+#.*", "", block.text)) for block in blocks(path)]

    assert shown(ROOT / f"{name}.ja.md") == shown(ROOT / f"{name}.md")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    links = LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8")))
    relative = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in relative if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("name", ["design.md", "log.md", "guide.md", "guide.ja.md"])
def test_files_that_are_named_exist(name: str) -> None:
    mentioned = MENTIONED.findall(FENCE.sub("", (ROOT / "docs" / name).read_text(encoding="utf-8")))
    assert [path for path in mentioned if not (ROOT / path).exists()] == []


def test_the_layout_is_that_of_the_package() -> None:
    layout = next(block.text for block in blocks(ROOT / "docs" / "design.md") if block.text.startswith("kakehashi/"))
    package = {path.name for path in (ROOT / "kakehashi").rglob("*.py")}
    assert set(re.findall(r"\w+\.py\b", layout)) | {"__init__.py"} == package


def test_the_guide_names_every_preset() -> None:
    for name in ("guide.md", "guide.ja.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert [path.stem for path in PRESETS.glob("*.yaml") if f"`{path.stem}`" not in text] == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "echo 'Is it? | no' | kakehashi translate m - decoding.size=3 > out",
            [["translate", "m", "-", "decoding.size=3"]],
        ),
        ("X=1 .venv/bin/kakehashi schema && kakehashi demo", [["schema"], ["demo"]]),
        ("kakehashi translate m < in.txt", [["translate", "m"]]),
        ("make demo", []),
    ],
)
def test_calls_are_found(line: str, expected: list[list[str]]) -> None:
    assert list(invocations(line)) == expected
