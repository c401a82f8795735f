"""`training.recompute: layers`: the same gradients, bit for bit, in less memory."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from kakehashi.errors import UserError
from kakehashi.models.lstm.network import LSTM
from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Stack, recompute_layers
from kakehashi.models.transformer import EncoderDecoder, Transformer
from kakehashi.nn.feedforward import Experts, FeedForward, ReLU
from kakehashi.nn.positions import T5

VOCABULARY = Vocabulary(40)


def model(feedforward: FeedForward, depth: int = 2, dropout: float = 0.3) -> Transformer:
    torch.manual_seed(1)
    config = EncoderDecoder(
        width=16,
        heads=2,
        dropout=dropout,
        encoder=Stack(depth=depth, position=T5(), layers=(Layer(feedforward=feedforward),)),
        decoder=CrossStack(depth=depth, layers=(CrossLayer(feedforward=feedforward),)),
    )
    return config.build(VOCABULARY, VOCABULARY).train()


def backward(model: Transformer, rows: int = 6) -> Tensor:
    """From a batch of rows x 20 tokens; returns the loss."""
    tokens = torch.randint(4, VOCABULARY.size, (rows, 20), generator=torch.Generator().manual_seed(2))
    torch.manual_seed(3)  # of dropout
    output = model.decode(tokens, model.encode(tokens, torch.ones_like(tokens, dtype=torch.bool)))
    loss = output.logits.float().logsumexp(-1).mean() + sum(output.losses.values())
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("feedforward", [ReLU(size=32), Experts(expert=ReLU(size=16))], ids=["plain", "experts"])
def test_gradients_are_the_same_bits(feedforward: FeedForward, dtype: torch.dtype) -> None:
    """With dropout, positions that learn, and a loss of the layers' own."""
    kept, recomputed = (model(feedforward).to(dtype) for _ in range(2))
    recompute_layers(recomputed)
    assert torch.equal(backward(kept), backward(recomputed))
    after = torch.rand(1)
    for (name, one), other in zip(kept.named_parameters(), recomputed.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None, name
        assert torch.equal(one.grad, other.grad), name
    backward(kept)
    assert torch.equal(torch.rand(1), after), "the next step draws the same numbers"


class Live(TorchDispatchMode):
    """The most bytes that the tensors made under it held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.count(tensor.untyped_storage())
        return result

    def count(self, storage: torch.UntypedStorage) -> None:
        if (key := storage._cdata) in self.seen:
            return
        self.seen.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.free, key, storage.nbytes())

    def free(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def peak(depth: int, recompute: bool) -> int:
    whole = model(ReLU(size=64), depth, dropout=0.1)
    if recompute:
        recompute_layers(whole)
    for parameter in whole.parameters():
        parameter.grad = torch.zeros_like(parameter)  # not counted
    with Live() as live:
        backward(whole, rows=96)
    return live.peak


def test_a_further_layer_costs_its_input_alone() -> None:
    kept, recomputed = (peak(9, recompute) - peak(3, recompute) for recompute in (False, True))
    inputs = 6 * 2 * (96 * 20 * 16 * 4)  # layers of two stacks, [96, 20, 16] of fp32
    assert inputs <= recomputed < 1.2 * inputs  # and a state of the random numbers
    assert kept > 20 * inputs


def test_only_training_recomputes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = model(ReLU(size=32))
    recompute_layers(whole)
    monkeypatch.setattr("kakehashi.models.stack.checkpoint", None)
    with torch.no_grad():
        whole.encode(torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool))
    whole.eval().encode(torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool))
    with pytest.raises(TypeError, match="not callable"):
        whole.train().encode(torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool))


def test_a_model_without_stacks_is_refused() -> None:
    recurrent: nn.Module = LSTM(width=8).build(VOCABULARY, VOCABULARY)
    with pytest.raises(UserError, match=r"recompute=layers: this kind of model has no stack"):
        recompute_layers(recurrent)
