"""Consistency regularisation on a network: its views, padding, pieces, and what it leaves to evaluation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from kakehashi.config import resolve
from kakehashi.data.batching import Batch, collate
from kakehashi.data.corpus import write_lines
from kakehashi.data.subwords import PAD, UNKNOWN
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossStack, Stack
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.tasks.consistency import ConsistencyConfig, NoConsistency, RDrop, SimCut
from kakehashi.tasks.translation import Translation
from kakehashi.training.recipe import Recipe

SIZE = 40
KINDS = [RDrop(), SimCut(share=0.5)]


def network(dropout: float = 0.0) -> Transformer:
    torch.manual_seed(0)
    trunk = EncoderDecoder(width=16, heads=2, dropout=dropout, encoder=Stack(depth=1), decoder=CrossStack(depth=1))
    return trunk.build(Vocabulary(SIZE), Vocabulary(SIZE)).double().train()


def batch(rows: int = 5) -> Batch:
    random = np.random.default_rng(2)

    def ids() -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return random.integers(UNKNOWN + 1, SIZE, random.integers(2, 9)).astype(np.int32)

    return collate([(ids(), ids()) for _ in range(rows)], np.arange(rows))


def padded(batch: Batch) -> Batch:
    more = torch.full((len(batch.source), 3), PAD)
    return replace(
        batch,
        source=torch.cat((batch.source, more), 1),
        source_mask=torch.cat((batch.source_mask, more != PAD), 1),
        target_input=torch.cat((batch.target_input, more), 1),
        target_output=torch.cat((batch.target_output, more), 1),
    )


def gradient(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True))


def test_r_drop_is_its_formula_over_two_forwards() -> None:
    """Liang et al. 2021, equations 2 to 4, halved: the two halves of one doubled batch are two draws of dropout."""
    model, given = network(dropout=0.3), batch()
    torch.manual_seed(5)
    found = RDrop(weight=3).loss(model, given, smoothing=0)
    torch.manual_seed(5)
    twice = [torch.cat((each, each)) for each in (given.target_input, given.source, given.source_mask)]
    log_p, log_q = model.decode(twice[0], model.encode(*twice[1:])).logits.log_softmax(-1).chunk(2)
    real, wanted = given.target_output != PAD, given.target_output[..., None]
    nll = [-each.gather(-1, wanted)[..., 0][real].sum() for each in (log_p, log_q)]
    kl = [(a.exp() * (a - b)).sum(-1)[real].sum() for a, b in ((log_p, log_q), (log_q, log_p))]
    expected = (sum(nll) + 3 * sum(kl) / 2) / 2
    assert kl[0] > 0.01, "the two draws should differ"
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(gradient(model, found.loss), gradient(model, expected))
    assert found.tokens == given.target_tokens
    torch.testing.assert_close(found.likelihood, nll[0].detach())


def test_simcut_is_its_formula_and_the_gradient_reaches_both_views() -> None:
    model, given, kind = network(), batch(), SimCut(weight=2, share=0.3)
    torch.manual_seed(5)
    found = kind.loss(model, given, smoothing=0.1)
    torch.manual_seed(5)
    source, target_input = (
        torch.where((torch.rand(each.shape) < 0.3) & (each > UNKNOWN), UNKNOWN, each)
        for each in (given.source, given.target_input)
    )
    assert (source == UNKNOWN).any() and (target_input == UNKNOWN).any()
    log_p = model.decode(given.target_input, model.encode(given.source, given.source_mask)).logits.log_softmax(-1)
    log_q = model.decode(target_input, model.encode(source, given.source_mask)).logits.log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)[given.target_output != PAD].sum()
    expected = NoConsistency().loss(model, given, 0.1).loss + 2 * kl
    torch.testing.assert_close(found.loss, expected, check_dtype=False, rtol=1e-6, atol=1e-6)
    both = gradient(model, kl)
    torch.manual_seed(5)
    without = kind.model_copy(update={"weight": 1e-9}).loss(model, given, 0.1).loss
    difference = [a - b for a, b in zip(gradient(model, found.loss), gradient(model, without), strict=True)]
    torch.testing.assert_close(difference, [2 * g for g in both], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_padding_takes_no_part(kind: ConsistencyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.arange(shape[1]).expand(shape) % 3 / 3)  # by column
    model, given = network(), batch()
    alone, more = kind.loss(model, given, 0.1), kind.loss(model, padded(given), 0.1)
    assert alone.tokens == more.tokens
    torch.testing.assert_close((alone.loss, alone.likelihood), (more.loss, more.likelihood))
    torch.testing.assert_close(gradient(model, alone.loss), gradient(model, more.loss))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_pieces_add_up(kind: ConsistencyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `training.batch.accumulate`."""
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.arange(shape[1]).expand(shape) % 3 / 3)
    model, given = network(), batch(6)
    names = ("source", "source_mask", "target_input", "target_output", "indices")
    pieces = [Batch(**{name: getattr(given, name)[rows] for name in names}) for rows in (slice(0, 2), slice(2, 6))]
    whole, parts = kind.loss(model, given, 0.1), [kind.loss(model, piece, 0.1) for piece in pieces]
    assert whole.tokens == sum(part.tokens for part in parts)
    torch.testing.assert_close(whole.loss, torch.stack([part.loss for part in parts]).sum())
    summed = [sum(each) for each in zip(*(gradient(model, part.loss) for part in parts), strict=True)]
    torch.testing.assert_close(gradient(model, whole.loss), summed)


@pytest.mark.parametrize("kind", [RDrop(), SimCut()], ids=lambda kind: kind.kind)
def test_a_decoder_alone_learns_so_too(kind: ConsistencyConfig) -> None:
    model = DecoderOnly(width=16, heads=2).build(Vocabulary(SIZE), Vocabulary(SIZE)).train()
    assert kind.loss(model, batch(), 0.1).loss.isfinite()


def test_experts_keep_their_own_loss() -> None:
    tree = {"encoder": {"depth": 1, "layers": [{"feedforward": "experts"}]}, "decoder": {"depth": 1}, "dropout": 0}
    config = resolve({"width": 16, "heads": 2, **tree}, EncoderDecoder)
    model, given = config.build(Vocabulary(SIZE), Vocabulary(SIZE)).double(), batch()
    torch.testing.assert_close(RDrop().loss(model, given, 0.1).loss, NoConsistency().loss(model, given, 0.1).loss)


def test_evaluation_knows_nothing_of_it(tmp_path: Path) -> None:
    for side in ("en", "de"):
        write_lines(tmp_path / f"text.{side}", [f"the {word} is {i}" for i in range(12) for word in ("house", "tree")])
    tree = {"source": "en", "target": "de", "train": "text.{en,de}", "valid": "text.{en,de}"}
    found: list[dict[str, float]] = []
    for kind in ("none", "simcut"):
        settings = resolve({**tree, "consistency": kind}, Translation, directory=tmp_path)
        task = settings.build(tmp_path, tmp_path / "cache")
        torch.manual_seed(0)
        model = EncoderDecoder(width=16, heads=2, encoder=Stack(depth=1), decoder=CrossStack(depth=1))
        built = model.build(task.source_vocabulary, task.target_vocabulary).eval()
        found.append(task.evaluate(built, torch.device("cpu")))
    assert found[0] == found[1]


def test_r_drop_without_dropout_is_refused() -> None:
    task = {"kind": "translation", "source": "en", "target": "de", "train": "a.{en,de}", "valid": "b.{en,de}"}
    model = {"kind": "encoder_decoder", "dropout": 0}
    with pytest.raises(Exception, match=r"r_drop compares two dropouts: set model\.dropout above 0, or take simcut"):
        resolve({"task": {**task, "consistency": "r_drop"}, "model": model}, Recipe)
    resolve({"task": {**task, "consistency": "simcut"}, "model": model}, Recipe)
    with pytest.raises(ValidationError):
        SimCut(share=0)
