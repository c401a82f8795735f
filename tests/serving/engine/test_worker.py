"""The process that holds models, without the process."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kakehashi.serving.engine.wire import LENGTH_BYTES, Found, Job, batch_message, packed
from kakehashi.serving.engine.worker import Models, serve
from kakehashi.translator import Translator


def answers(models: Models, messages: bytes) -> list[dict[str, Any]]:
    written = io.BytesIO()
    serve(models, io.BytesIO(messages), written)
    written.seek(0)
    found: list[dict[str, Any]] = []
    while length := written.read(LENGTH_BYTES):
        found.append(json.loads(written.read(int.from_bytes(length, "big"))))
    return found


def batch(directory: Path, texts: Sequence[str], **job: Any) -> bytes:
    return packed(batch_message(Job(directory.name, **job), str(directory), texts))


def test_a_batch(models: list[Path]) -> None:
    held = Models("fp32", batch_tokens=100)
    (answer,) = answers(held, batch(models[0], ["Ant bee.", "cat"]))
    assert [Found.of(each).texts for each in answer["found"]] == [("Bee cat.",), ("dog",)]
    assert answer["source_tokens"] == 6  # the ends are two
    assert held.translators["en-de"].batch_tokens == 100


def test_models_are_loaded_when_asked_for_and_dropped_when_told(models: list[Path]) -> None:
    held = Models("fp32", batch_tokens=100)
    messages = batch(models[0], ["ant"]) + batch(models[1], ["ant"]) + packed({"drop": "en-de"}) + packed({"drop": "x"})
    assert len(answers(held, messages)) == 2
    assert held.translators.keys() == {"de-fr"}


def test_mistakes_are_told(models: list[Path], tmp_path: Path) -> None:
    messages = batch(models[0], ["ant"], count=999) + batch(tmp_path, ["ant"]) + batch(models[0], ["ant"])
    found = answers(Models("fp32", batch_tokens=100), messages)
    assert "no model directory" in found[1]["mistake"]
    assert found[2]["found"]


@pytest.mark.parametrize("cut", [2, LENGTH_BYTES, 20])
def test_the_end_of_the_input_is_the_end(models: list[Path], cut: int) -> None:
    assert answers(Models("fp32", 100), batch(models[0], ["ant"])[:cut]) == []


def test_messages_hold_any_text() -> None:
    job = Job("m", 2, True, (("a", "b"), ("\ud800", "\0")), ("c",), ("d", "e"))
    assert Job.of(json.loads(packed(batch_message(job, "d", []))[LENGTH_BYTES:])["job"]) == job
    found = Found(("\ud800\n", "👍"), 0.5, 3, ((0, 1, 0.25),), ((0, 1, 2, 3, 0.5),), ("note",))
    data = packed({"found": found.__dict__})
    assert int.from_bytes(data[:LENGTH_BYTES], "big") == len(data) - LENGTH_BYTES
    assert Found.of(json.loads(data[LENGTH_BYTES:])["found"]) == found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_weights_are_shared_pages_of_the_file(models: list[Path]) -> None:
    """Nothing of the mapping is private to a process that uses the model, so that workers share it."""
    translator = Translator.load(models[2], "fp32", "cpu")
    translator.translate(["Ant bee."])
    kilobytes = {"Rss": 0, "Private_Dirty": 0}
    inside = False
    for line in Path("/proc/self/smaps").read_text("utf-8").split("\n"):
        words = line.split()
        if words and not words[0].endswith(":"):
            inside = line.endswith(str(models[2] / "model.safetensors"))
        elif inside and words and (name := words[0].rstrip(":")) in kilobytes:
            kilobytes[name] += int(words[1])
    size = (models[2] / "model.safetensors").stat().st_size
    assert kilobytes["Rss"] * 1024 >= size and kilobytes["Private_Dirty"] == 0
