"""`kakehashi generate`."""

from pathlib import Path

from kakehashi.text_generator import TextGenerator

from .conftest import Run


def test_a_text_is_continued(run: Run, generator: Path) -> None:
    texts = TextGenerator.load(generator, device="cpu").generate("a=b", 2, temperature=0.5)
    ended = run("generate", generator, "a=b", "decoding.temperature=0.5", "--count", 2)
    assert (ended.code, ended.out) == (0, f"{texts[0]}\n\n{texts[1]}\n")
    assert run("generate", generator, "decoding=greedy").out == run("generate", generator, "", "decoding=greedy").out


def test_a_text_longer_than_those_of_training_is_noted(run: Run, generator: Path) -> None:
    ended = run("generate", generator, "abcabcabc", "decoding=greedy", "decoding.max_length=1")
    assert ended.code == 0 and ended.err == "note: 10 tokens; in training the longest text had 8\n"
