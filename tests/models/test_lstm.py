"""The LSTM models against torch's cell and the papers' formulas, written out token by token for one sentence."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kakehashi.models.lstm import LSTM
from kakehashi.models.lstm.attention import GNMT, AttentionConfig, Bahdanau, Luong, NoAttention
from kakehashi.models.lstm.layers import EncoderLayers, Layers, LSTMLayer
from kakehashi.models.protocol import Vocabulary
from kakehashi.nn.embeddings import Embeddings
from tests.laws.zoo import members

WIDTH = 6
SOURCE, TARGET = torch.tensor([5, 7, 3, 2]), torch.tensor([1, 8, 4, 4, 6])


def model_of(attention: Any, encoder: EncoderLayers | None = None, decoder: Layers | None = None) -> Any:
    torch.manual_seed(1)
    parts = {"encoder": encoder or EncoderLayers(), "decoder": decoder or Layers(depth=3, residual_from=3)}
    config = LSTM(width=WIDTH, embeddings=Embeddings(tie="none", scale="none"), attention=attention, **parts)
    model = config.build(Vocabulary(9), Vocabulary(9)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def cell(lstm: nn.LSTM, x: Tensor, past: tuple[Tensor, Tensor], suffix: str = "") -> tuple[Tensor, Tensor]:
    """h and c by the formula, from vectors."""
    w, u, b, a = (lstm.get_parameter(f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    i, f, g, o = (w @ x + u @ past[0] + b + a).chunk(4)
    c = f.sigmoid() * past[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def zeros(size: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)


def read(lstm: nn.LSTM, xs: list[Tensor], suffix: str = "") -> tuple[list[Tensor], Tensor]:
    """All h in the order of reading, and the last h and c [2, D]."""
    past, hs = zeros(lstm.hidden_size), list[Tensor]()
    for x in xs:
        past = cell(lstm, x, past, suffix)
        hs.append(past[0])
    return hs, torch.stack(past)


def encoded(model: Any, source: Tensor = SOURCE) -> tuple[list[Tensor], list[Tensor]]:
    """States of each token, and the last h and c of each layer, of a sentence without padding."""
    config, xs, last = model.config.encoder, list(model.source_embedding(source)), list[Tensor]()
    if config.direction == "backward":
        xs = xs[::-1]
    for i, layer in enumerate(model.encoder.layers):
        hs, end = read(layer.lstm, xs)
        if config.direction == "both" and i == 0:
            back, end_back = read(layer.lstm, xs[::-1], "_reverse")
            hs = [torch.cat(pair) for pair in zip(hs, back[::-1], strict=True)]
            end = torch.cat((end, end_back), 1)
        xs = [h + x for h, x in zip(hs, xs, strict=True)] if i + 1 >= config.residual_from else hs
        last.append(end)
    return xs[::-1] if config.direction == "backward" else xs, last


class Naive:
    """A decoder of one hypothesis: `pasts` are h and c of each layer, `fed` the last hidden state."""

    def __init__(self, model: Any) -> None:
        self.model, self.config, self.decoder = model, model.config.attention, model.decoder
        self.states, last = encoded(model)
        depth = model.config.decoder.depth
        starts = [last[max(0, i + len(last) - depth)] for i in range(depth)]
        self.pasts = [(start[0], start[1]) for start in starts]
        self.fed = torch.zeros(WIDTH, dtype=torch.float64)
        self.weights: list[Tensor] = []

    def layer(self, i: int, x: Tensor, *context: Tensor) -> Tensor:
        self.pasts[i] = cell(self.decoder.stack.layers[i].lstm, torch.cat((x, *context)), self.pasts[i])
        return self.pasts[i][0] + x if i + 1 >= self.model.config.decoder.residual_from else self.pasts[i][0]

    def above(self, x: Tensor, *context: Tensor) -> Tensor:
        for i in range(1, len(self.pasts)):
            x = self.layer(i, x, *context)
        return x

    def attend(self, q: Tensor) -> Tensor:
        scorer = self.decoder.scorer
        match self.config:
            case Luong(score="dot"):
                scores = [q @ h for h in self.states]
            case Luong():
                scores = [q @ scorer.key.weight @ h for h in self.states]
            case _:
                terms = [(scorer.query.weight @ q + scorer.key.weight @ h).tanh() for h in self.states]
                scores = [scorer.score.weight[0] @ term for term in terms]
        exponentials = torch.stack(scores).exp()
        self.weights.append(exponentials / exponentials.sum())
        return torch.stack([w * h for w, h in zip(self.weights[-1], self.states, strict=True)]).sum(0)

    def step(self, x: Tensor) -> Tensor:
        match self.config:
            case NoAttention():
                return self.above(self.layer(0, x))
            case GNMT():
                bottom = self.layer(0, x)
                return self.above(bottom, self.attend(bottom))
            case Bahdanau():
                c = self.attend(self.pasts[-1][0])
                h = self.above(self.layer(0, x, c))
                pieces = self.decoder.output.weight @ torch.cat((h, x, c)) + self.decoder.output.bias
                return torch.stack([torch.max(pieces[2 * j], pieces[2 * j + 1]) for j in range(WIDTH)])
            case _:
                h = self.above(self.layer(0, x, *([self.fed] if self.config.feeding == "input" else [])))
                self.fed = (self.decoder.output.weight @ torch.cat((self.attend(h), h))).tanh()
                return self.fed


KINDS = {
    "none": NoAttention(),
    "bahdanau": Bahdanau(),
    "luong": Luong(),
    "luong dot": Luong(score="dot"),
    "luong unfed": Luong(feeding="none"),
    "gnmt": GNMT(),
}


@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
@torch.no_grad()
def test_the_encoder_by_formula_and_without_padding(direction: Any) -> None:
    model = model_of(NoAttention(), EncoderLayers(depth=3, residual_from=2, direction=direction))
    rows = [SOURCE, SOURCE[1:3], SOURCE[:1]]
    source = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=4)
    mask = torch.arange(len(SOURCE)) < torch.tensor([len(row) for row in rows])[:, None]
    found = model.encode(source, mask)
    for n, row in enumerate(rows):
        states, last = encoded(model, row)
        torch.testing.assert_close(found.states[n, : len(row)], torch.stack(states), atol=1e-12, rtol=0)
        torch.testing.assert_close(found.more["last"][n], torch.stack(last), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depths", [(2, 3), (3, 2)], ids=str)
@torch.no_grad()
def test_the_decoder_by_formula(kind: str, depths: tuple[int, int]) -> None:
    model = model_of(KINDS[kind], EncoderLayers(depth=depths[0]), Layers(depth=depths[1], residual_from=2))
    naive = Naive(model)
    expected = torch.stack([naive.step(x) for x in model.target_embedding(TARGET)])
    encoded = model.encode(SOURCE[None], torch.ones(1, len(SOURCE), dtype=torch.bool))
    found = model.decode(TARGET[None], encoded, alignment=True)
    torch.testing.assert_close(found.hidden[0], expected, atol=1e-12, rtol=0)
    if kind == "none":
        assert found.alignment is None
    else:
        torch.testing.assert_close(found.alignment[0], torch.stack(naive.weights), atol=1e-12, rtol=0)


@torch.no_grad()
def test_a_layer_is_torchs_cell() -> None:
    layer = LSTMLayer(WIDTH, 0.0, context=2).double()
    theirs = nn.LSTMCell(WIDTH + 2, WIDTH).double()
    theirs.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.lstm.state_dict().items()})
    x, context, past = (torch.randn(3, *shape, dtype=torch.float64) for shape in ((5, WIDTH), (5, 2), (2, WIDTH)))
    found, end = layer(x, past, context)
    h, c = past.unbind(1)
    for t in range(5):
        h, c = theirs(torch.cat((x[:, t], context[:, t]), -1), (h, c))
        torch.testing.assert_close(found[:, t], h, atol=1e-12, rtol=0)
    torch.testing.assert_close(end, torch.stack((h, c), 1), atol=1e-12, rtol=0)
    one, past = [], past
    for piece, beside in zip(x.split(1, 1), context.split(1, 1), strict=True):
        y, past = layer(piece, past, beside)
        one.append(y)
    torch.testing.assert_close(torch.cat(one, 1), found, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_only_feeding_back_goes_token_by_token(kind: str) -> None:
    model, calls = model_of(KINDS[kind]), list[int]()
    for layer in model.decoder.stack.layers:
        layer.register_forward_hook(lambda _, inputs, output: calls.append(inputs[0].shape[1]))
    with torch.no_grad():
        model.decode(TARGET[None], model.encode(SOURCE[None], torch.ones(1, len(SOURCE), dtype=torch.bool)))
    fed = kind in ("bahdanau", "luong", "luong dot")
    assert calls == ([1] * 3 * len(TARGET) if fed else [len(TARGET)] * 3)


@torch.no_grad()
def test_keys_are_computed_once_a_sentence() -> None:
    model, calls = model_of(Luong()), list[int]()
    model.decoder.scorer.key.register_forward_hook(lambda _, inputs, output: calls.append(len(output)))
    state = model.begin(model.encode(SOURCE[None], torch.ones(1, len(SOURCE), dtype=torch.bool)))
    state.repeat(4)
    for _ in range(3):
        model.step(torch.full((4, 1), 3), state)
    assert calls == [1]


def test_a_new_layer_remembers() -> None:
    torch.manual_seed(1)
    model = LSTM(width=WIDTH, decoder=Layers(depth=1)).build(Vocabulary(9), Vocabulary(9))
    lstm = model.get_submodule("decoder.stack.layers.0.lstm")
    i, f, g, o = (lstm.get_parameter("bias_ih_l0") + lstm.get_parameter("bias_hh_l0")).chunk(4)
    assert torch.equal(f, torch.ones(WIDTH)) and not torch.cat((i, g, o)).any()
    for gate in lstm.get_parameter("weight_hh_l0").chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(WIDTH))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": GNMT(), "decoder": Layers(depth=1)}, r"needs decoder\.depth 2 or more"),
        ({"width": 7}, r"encoder\.direction both needs an even width, not 7"),
    ],
)
def test_what_cannot_be_built(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTM(**settings).build(Vocabulary(9), Vocabulary(9))


def test_every_attention_is_tried() -> None:
    assert set(members(AttentionConfig)) == {type(kind) for kind in KINDS.values()}
