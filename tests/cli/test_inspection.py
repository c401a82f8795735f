"""`kakehashi check`, `info` and `schema`, and every `--help`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kakehashi.data.corpus import read_lines, write_lines
from kakehashi.training.recipe import PRESETS

from .conftest import Run

COMMANDS = ("train", "translate", "generate", "evaluate", "check", "info", "schema", "demo", "import", "export")


def test_check_reports_and_writes_the_clean_corpus(run: Run) -> None:
    write_lines(Path("a.en"), [f"one sentence with the number {i}" for i in range(30)] + ["nothing"])
    write_lines(Path("a.de"), [f"ein Satz mit der Nummer {i}" for i in range(30)] + [""])
    ended = run("check", "a.en", "a.de")
    assert ended.code == 0 and ended.lines[0] == "31 pairs: 30 to keep, 1 to drop"
    report = json.loads(run("check", "a.en", "a.de", "--output", "clean", "--json").out)
    assert report["dropped"] == {"empty": 1}
    assert len(list(read_lines(Path("clean/clean.en")))) == len(list(read_lines(Path("clean/clean.de")))) == 30


def test_info_describes_a_model_and_a_preset(run: Run, model: Path) -> None:
    assert run("info", model).code == run("info", "tiny").code == 0
    shapes = re.sub(r"[\s,]", "", run("info", "paper-base", "--shapes", 50).out)
    assert "50×512" in shapes or "50x512" in shapes


def test_info_describes_a_language_model(run: Run, generator: Path) -> None:
    ended = run("info", generator)
    assert "a language model" in ended.out and re.search(r"vocabulary +characters: 265", ended.out)
    assert re.search(r"embeddings +4,240", ended.out)


def accepts(schema: dict[str, Any], node: Any, root: dict[str, Any]) -> bool:
    """A validator of as much of JSON Schema as pydantic writes; it refuses to skip what it does not know."""
    known = {"$defs", "$ref", "additionalProperties", "anyOf", "const", "default", "description", "discriminator"}
    known |= {"enum", "exclusiveMaximum", "exclusiveMinimum", "items", "maxItems", "maximum", "minItems", "minimum"}
    known |= {"oneOf", "prefixItems", "properties", "title", "type"}
    assert schema.keys() <= known, schema.keys() - known
    if "$ref" in schema:
        return accepts(root["$defs"][schema["$ref"].rpartition("/")[2]], node, root)
    if any(not any(accepts(each, node, root) for each in schema[key]) for key in ("anyOf", "oneOf") if key in schema):
        return False
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": int | float}
    if "type" in schema and schema["type"] != "null" and not isinstance(node, types[schema["type"]]):
        return False
    if (schema.get("type") == "null" and node is not None) or node not in schema.get("enum", [node]):
        return False
    if "const" in schema and node != schema["const"]:
        return False
    if isinstance(node, dict):
        fields, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        below = [(fields.get(key, rest), value) for key, value in node.items()]
        return all(each is True or (each is not False and accepts(each, value, root)) for each, value in below)
    if isinstance(node, list) and "prefixItems" not in schema:
        return all(accepts(schema.get("items", {}), value, root) for value in node)
    return True


def test_the_schema_accepts_every_preset(run: Run) -> None:
    root = json.loads(run("schema").out)
    presets = sorted(PRESETS.glob("*.yaml"))
    assert len(presets) >= 5
    for path in presets:
        tree = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
        assert accepts(root, json.loads(json.dumps(tree)), root), path.name
    tree = {"model": {"kind": "encoder_decoder", "encoder": {"position": "sinusoidal"}}}
    assert accepts(root, tree, root)
    assert not accepts(root, tree | {"modle": {}}, root)
    assert not accepts(root, {"model": {"kind": "encoder_decoder", "encoder": {"position": "sinus"}}}, root)
    assert not accepts(root, {"training": {"steps": "many"}}, root)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(command: str, run: Run) -> None:
    ended = run(command, "--help")
    assert ended.code == 0
    assert re.search(rf"Example:.*kakehashi {command}", ended.out, re.DOTALL)
    assert command in run("--help").out
