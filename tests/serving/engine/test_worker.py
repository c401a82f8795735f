"""The process that holds models, without the process."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from kakehashi.serving.engine.wire import LENGTH_BYTES, Found, Job, batch_message, packed
from kakehashi.serving.engine.worker import Models, serve
from kakehashi.translator import Translator


def answers(models: Models, messages: bytes) -> list[dict[str, Any]]:
    """Without those that say that it is alive, which a slow machine adds."""
    return [each for each in written(models, messages) if "alive" not in each]


def written(models: Models, messages: bytes) -> list[dict[str, Any]]:
    output = io.BytesIO()
    serve(models, io.BytesIO(messages), output)
    output.seek(0)
    found: list[dict[str, Any]] = []
    while length := output.read(LENGTH_BYTES):
        found.append(json.loads(output.read(int.from_bytes(length, "big"))))
    return found


def batch(directory: Path, texts: Sequence[str], **job: Any) -> bytes:
    return packed(batch_message(Job(directory.name, **job), str(directory), texts))


def test_a_batch(models: list[Path]) -> None:
    held = Models("fp32", batch_tokens=100)
    (answer,) = answers(held, batch(models[0], ["Ant bee.", "cat"]))
    assert [Found.of(each).texts for each in answer["found"]] == [("Bee cat.",), ("dog",)]
    assert answer["source_tokens"] == 6  # the ends are two
    assert held.translators["en-de"].batch_tokens == 100


def test_a_known_translation_goes_back_to_what_the_search_looked_at(models: list[Path]) -> None:
    held = Models("fp32", batch_tokens=100)
    told = batch(models[0], ["Ant bee cat."], translation="Bee cat dog.", alignment=True)
    searched, given = answers(held, batch(models[0], ["Ant bee cat."], alignment=True) + told)
    found, known = (Found.of(answer["found"][0]) for answer in (searched, given))
    assert known.texts == found.texts == ("Bee cat dog.",)
    assert [link[:4] for link in known.links] == [link[:4] for link in found.links]
    assert [link[4] for link in known.links] == pytest.approx([link[4] for link in found.links], abs=1e-4)
    assert (known.words, known.tokens) == ((), 0)


def test_a_translation_too_long_for_the_model_has_no_links(models: list[Path]) -> None:
    (answer,) = answers(Models("fp32", 100), batch(models[0], ["ant"], translation="bee " * 300, alignment=True))
    assert Found.of(answer["found"][0]).links == ()


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


def test_a_process_at_work_says_that_it_is_alive(models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Models):
        def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
            sleep(0.1)
            return super().answer(message)

    monkeypatch.setattr("kakehashi.serving.engine.worker.BEAT", 0.01)
    *beats, last = written(Slow("fp32", 100), batch(models[0], ["ant"]))
    assert beats and all(each == {"alive": True} for each in beats) and last["found"]


@pytest.mark.parametrize("cut", [2, LENGTH_BYTES, 20])
def test_the_end_of_the_input_is_the_end(models: list[Path], cut: int) -> None:
    assert answers(Models("fp32", 100), batch(models[0], ["ant"])[:cut]) == []


def test_messages_hold_any_text() -> None:
    job = Job("m", 2, True, (("a", "b"), ("\ud800", "\0")), ("c",), ("d", "e"), "f")
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
