"""What a language model is asked of a text: what follows each token, or what stood where something was hidden.

Shapes: T tokens of a sequence, B rows.
"""

from abc import abstractmethod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from kakehashi.config import Config, Family
from kakehashi.data.sequences import Ids
from kakehashi.data.subwords import BEGIN, PAD
from kakehashi.data.vocabulary import FIRST_PIECE, MASK
from kakehashi.models import ModelConfig
from kakehashi.models.decoder_only import DecoderOnly
from kakehashi.models.encoder_only import EncoderOnly
from kakehashi.models.protocol import Output, Predicting, Translating


class ObjectiveConfig(Config):
    """The base of an objective."""

    @abstractmethod
    def fits(self, model: ModelConfig) -> bool: ...

    @abstractmethod
    def example(self, ids: Ids, size: int, seeds: tuple[int, int, int]) -> tuple[Ids, Ids]:
        """What the model reads [T], and what it must say at each place [T], PAD where nothing is asked.

        size: of the vocabulary; seeds: (seed, epoch, index), by which alone anything is drawn.
        """

    @abstractmethod
    def output(self, model: Any, tokens_BT: Tensor) -> Output: ...


class Causal(ObjectiveConfig):
    """Every token from those before it; the first from `begin`."""

    kind: Literal["causal"] = "causal"

    def fits(self, model: ModelConfig) -> bool:
        return isinstance(model, DecoderOnly)

    def example(self, ids: Ids, size: int, seeds: tuple[int, int, int]) -> tuple[Ids, Ids]:
        return np.concatenate((np.array([BEGIN], np.int32), ids[:-1])), ids

    def output(self, model: Translating, tokens_BT: Tensor) -> Output:
        empty = tokens_BT[:, :0]
        return model.decode(tokens_BT, model.encode(empty, empty.bool()))


class Masked(ObjectiveConfig):
    """Some tokens from all others, Devlin et al. 2019 (arXiv 1810.04805), section 3.1: `share` of them, at least one,
    are asked; of these 80 % are hidden, 10 % replaced by another, 10 % left as they are.

    They are drawn anew in each epoch, as in Liu et al. 2019 (RoBERTa, arXiv 1907.11692), section 4.1.
    """

    kind: Literal["masked"] = "masked"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.15

    def fits(self, model: ModelConfig) -> bool:
        return isinstance(model, EncoderOnly)

    def example(self, ids: Ids, size: int, seeds: tuple[int, int, int]) -> tuple[Ids, Ids]:
        random = np.random.default_rng(seeds)
        places = random.choice(len(ids), max(1, round(self.share * len(ids))), replace=False)
        lots = random.random(len(places))
        replaced = places[(lots >= 0.8) & (lots < 0.9)]
        seen, asked = ids.copy(), np.full_like(ids, PAD)
        seen[places[lots < 0.8]] = MASK
        seen[replaced] = random.integers(FIRST_PIECE, size, len(replaced))
        asked[places] = ids[places]
        return seen, asked

    def output(self, model: Predicting, tokens_BT: Tensor) -> Output:
        return model.predict(model.encode(tokens_BT, tokens_BT != PAD))


Objective = Annotated[Causal | Masked, Family()]
