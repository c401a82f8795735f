"""ONNX: the graphs are the model, for every variant that can be one; what lies beside them; refusals."""

import random
import re
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from kakehashi.config import Config
from kakehashi.decoding import Beam, Greedy, search
from kakehashi.errors import UserError
from kakehashi.interop import format_of, onnx
from kakehashi.interop.huggingface import HuggingFace
from kakehashi.interop.onnx import Onnx
from kakehashi.interop.onnx.graphs import export
from kakehashi.interop.onnx.runtime import GraphModel
from kakehashi.interop.onnx.support import REFUSED, expressible
from kakehashi.interop.ours import Ours
from kakehashi.interop.protocol import Languages
from kakehashi.interop.transfer import export_model
from kakehashi.models.protocol import Translating
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.variant import variants
from kakehashi.translator import Translator
from tests.laws.zoo import VARIANTS, built

from .conftest import Marian, Own

FORMAT = Onnx()


def graphs_of(translator: Translator, path: Path) -> Ours:
    FORMAT.check(translator)
    FORMAT.write(translator, path)
    theirs = FORMAT.open(path)
    assert isinstance(theirs, Ours)
    return theirs


@pytest.mark.slow
@pytest.mark.parametrize("tie", ["all", "target", "none"])
def test_it_is_the_same_model_there(tie: str, own: Own, tmp_path: Path) -> None:
    translator = own(tie=tie, bias="learned")
    translator.save(tmp_path / "model")
    report = export_model(FORMAT, tmp_path / "model", tmp_path / "there", tolerance=1e-4)
    assert report.greedy == report.beam == 1 and report.second.startswith("onnxruntime") and report.tokens > 50
    assert {path.name for path in (tmp_path / "there").iterdir()} == {
        *("config.json", "README.md", "encoder.onnx", "step.onnx", "parity.json"),
        *(f"{side}.{kind}" for side in ("source", "target") for kind in ("model", "vocabulary.json")),
    }


# Texts.


@pytest.mark.slow
def test_long_lines_empty_ones_and_unknown_characters(marian: Marian, tmp_path: Path) -> None:
    """A model of others has pieces for few characters, and begins with the padding."""
    ours = Ours(HuggingFace().read(marian(), Languages()))
    theirs = graphs_of(ours.translator, tmp_path / "there")
    long = ours.segment("Where is the station? ☃ " * 80)[:599]
    texts = [long, *map(ours.segment, ("", "駅 ☃", "A cat."))]
    assert len(long) == 599 and "<unk>" in texts[2]
    assert [theirs.segment(text) for text in ("", "駅 ☃")] == texts[1:3]
    for beam in (1, 3):
        assert ours.translate(texts, beam) == theirs.translate(texts, beam)
    for mine, other in zip(ours.score(texts, texts), theirs.score(texts, texts), strict=True):
        torch.testing.assert_close(torch.tensor(other), torch.tensor(mine), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_nobody_in_a_batch_or_beam_changes_anything(own: Own, tmp_path: Path) -> None:
    translator = own()
    theirs = graphs_of(translator, tmp_path / "there")
    rows = [torch.tensor([*translator.segmenters.source.encode(text), 2]) for text in ("A cat.", "", "Where is it?")]
    source = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    settings = [Greedy(max_length=12), *(Beam(size=size, max_length=12) for size in (2, 5))]
    for decoding in settings:
        count = decoding.build().size
        expected = search(translator.model, source, source != 0, decoding, count)
        found = search(theirs.translator.model, source, source != 0, decoding, count)
        alone = [search(theirs.translator.model, row[None], row[None] != 0, decoding, count)[0] for row in rows]
        for other in (found, alone):
            assert [[h.tokens for h in best] for best in other] == [[h.tokens for h in best] for best in expected]
            scores = (torch.tensor([[h.score for h in best] for best in each]) for each in (other, expected))
            torch.testing.assert_close(*scores, atol=1e-4, rtol=0)


GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


@pytest.mark.slow
def test_the_loop_of_the_guide_translates_without_us(
    own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    translator = own(bias="learned")
    theirs = graphs_of(translator, tmp_path / "exported-onnx")
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if "onnxruntime" in block)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(GUIDE), "exec"), {})
    source = torch.tensor([[*translator.segmenters.source.encode("A man rides a bicycle."), 2]])
    decoding = Greedy(max_length=100, extra_length=100)
    ((best,),) = search(translator.model, source, source != 0, decoding)
    pieces = [translator.segmenters.target.piece(id) for id in best.tokens]
    assert capsys.readouterr().out == theirs.text(pieces) + "\n"


def test_graphs_are_written_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "step.onnx").touch()
    with pytest.raises(UserError, match="cannot be imported"):
        format_of(tmp_path).read(tmp_path, Languages())


@pytest.mark.parametrize("contents", [None, "no", "{}", '{"graphs": {"step.onnx": {}}}'])
def test_a_damaged_directory_is_one_message(contents: str | None, tmp_path: Path) -> None:
    if contents is not None:
        (tmp_path / "config.json").write_text(contents)
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "config.json"))):
        FORMAT.open(tmp_path)


def test_what_is_not_installed_is_named(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(UserError, match="needs onnxscript: pip install"):
        FORMAT.check(own())


# Every variant.


def sources(lengths: list[int], size: int) -> tuple[Tensor, Tensor]:
    source = torch.randint(3, size, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(5))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return source.masked_fill(~mask, 0), mask


def assert_same(model: Translating, graph: Translating, lengths: list[int], seed: int) -> None:
    """Steps of a search that chooses blindly: two at once, then every hypothesis becomes three, they change places, and
    a sentence leaves."""
    chance = random.Random(seed)
    source, mask = sources(lengths, model.source_vocabulary.size)
    states = [(each, each.begin(each.encode(source, mask))) for each in (model, graph)]

    def step(count: int) -> None:
        tokens = torch.tensor([[chance.randrange(3, 29) for _ in range(count)] for _ in states[0][1].lengths])
        expected, found = (each.step(tokens, state).logits for each, state in states)
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)

    def change(name: str, *arguments: Any) -> None:
        for _, state in states:
            getattr(state, name)(*arguments)

    step(2)
    change("repeat", 3)
    for _ in range(3):
        step(1)
        rows = len(states[0][1].lengths)
        change("reorder", torch.tensor([row // 3 * 3 + chance.randrange(3) for row in range(rows)]))
    step(1)
    change("keep", torch.tensor(range(0, len(lengths), 2)))
    for _ in range(6):
        step(1)


def shallow(config: Any) -> Any:
    """Each of its layers once: to trace one takes seconds."""
    if not isinstance(config, EncoderDecoder):
        return config
    stacks = (config.encoder, config.decoder)
    once = [stack.model_copy(update={"depth": min(stack.depth, len(stack.layers))}) for stack in stacks]
    return config.model_copy(update=dict(zip(("encoder", "decoder"), once, strict=True)))


def refused(config: Any) -> list[str]:
    return [dict(part)["kind"] for part in variants(config) if type(part) in REFUSED]


def chosen(node: object) -> frozenset[tuple[Any, ...]]:
    """All parts in a tree of configs, and what in them is not as they would have it."""
    if isinstance(node, tuple):
        return frozenset[Any]().union(*map(chosen, cast(tuple[object, ...], node)))
    if not isinstance(node, Config):
        return frozenset()
    usual = {name: field.get_default(call_default_factory=True) for name, field in type(node).model_fields.items()}
    own = {(type(node), name, str(value)) for name, value in node if not chosen(value) and value != usual[name]}
    return frozenset[Any]({(type(node),), *own}).union(*(chosen(child) for _, child in node))


def telling() -> list[str]:
    """The variants that can be graphs, without those of which another one has every part and choice: to trace one takes
    seconds."""
    kept: dict[str, frozenset[Any]] = {}
    for name, choices in sorted(
        ((name, chosen(config)) for name, config in VARIANTS.items() if not refused(config)), key=lambda x: -len(x[1])
    ):
        if not any(choices <= others for others in kept.values()):
            kept[name] = choices
    return list(kept)


@pytest.mark.slow
@pytest.mark.parametrize("name", telling())
@torch.no_grad()
def test_every_other_variant_is_the_same_graphs(name: str, tmp_path: Path) -> None:
    model = built(shallow(VARIANTS[name])).float()
    graphs = export(model, tmp_path)
    graph = GraphModel(tmp_path, graphs, model.source_vocabulary, model.target_vocabulary, model.max_length)
    for seed, lengths in enumerate(([6, 3, 1, 5], [1], [2, 11])):
        assert_same(model, graph, lengths, seed)


@pytest.mark.parametrize("name", [name for name in VARIANTS if refused(VARIANTS[name])])
def test_what_no_graph_can_be_is_named(name: str) -> None:
    with pytest.raises(UserError, match=refused(VARIANTS[name])[0]):
        expressible(VARIANTS[name])
