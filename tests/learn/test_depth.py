"""At 24 + 24 layers and without warm-up, post-norm learns nothing where pre-norm and deepnorm learn."""

import math

import pytest
import torch
from torch.nn.functional import pad

from kakehashi.models.protocol import Vocabulary
from kakehashi.models.stack import CrossLayer, CrossStack, Layer, Placement, Stack
from kakehashi.models.transformer import EncoderDecoder
from kakehashi.nn.feedforward import ReLU
from kakehashi.nn.losses import cross_entropy

LETTERS, LONGEST, BEGIN, END = 4, 4, 1, 2
BLIND = math.log(4)  # a token, when the source is not seen: ln 4 for each of 2.5 letters and for the length, of 3.5


def loss_of_copying(placement: Placement, seed: int) -> float:
    """-log p a token, over the last 10 of 100 steps of Adam at 3e-3; 32 random words of one to four letters a step."""
    torch.manual_seed(seed)
    encoder = Stack(depth=24, placement=placement, layers=(Layer(feedforward=ReLU(size=32)),))
    decoder = CrossStack(depth=24, placement=placement, layers=(CrossLayer(feedforward=ReLU(size=32)),))
    config = EncoderDecoder(width=16, heads=2, dropout=0.0, encoder=encoder, decoder=decoder)
    model = config.build(Vocabulary(3 + LETTERS), Vocabulary(3 + LETTERS))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    losses: list[float] = []
    for _ in range(100):
        lengths = torch.randint(1, LONGEST + 1, (32, 1))
        letters = torch.randint(3, 3 + LETTERS, (32, LONGEST)).masked_fill(torch.arange(LONGEST) >= lengths, 0)
        words = pad(letters, (0, 1)).scatter(1, lengths, END)
        real = words > 0
        hidden = model.decode(pad(words, (1, -1), value=BEGIN), model.encode(words, real)).hidden
        loss, _ = cross_entropy(hidden[real], model.projection.weight, None, words[real], 0.0)
        optimizer.zero_grad()
        (loss / real.sum()).backward()
        optimizer.step()
        losses.append(loss.item() / int(real.sum()))
    return sum(losses[-10:]) / 10


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["pre", "deepnorm", "post"])
def test_only_post_norm_fails_at_depth(placement: Placement) -> None:
    """With seeds 1 and 2: pre 0.60, 0.40; deepnorm 0.65, 0.62; post 1.59, 1.60, the letters' and END's frequencies."""
    found = loss_of_copying(placement, seed=1)
    assert found > BLIND if placement == "post" else found < 0.6 * BLIND
