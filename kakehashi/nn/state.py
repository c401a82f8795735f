"""The state of a decoding in progress: named tensors in two groups, batch always axis 0.

* `sentence`: one row a source sentence (the encoded source, its projected keys). Never copied for a beam.
* `hypothesis`: `fanout` rows a sentence (caches of what was emitted). `reorder` and `repeat` touch only this group.

Row r of `hypothesis` belongs to sentence r // fanout. Search needs nothing else, so it never asks what the model is.
Shapes: N sentences, R = N * fanout hypotheses, H heads, L new tokens, K cached tokens, C size of a head.
"""

from collections.abc import Callable

import torch
from torch import Tensor


class State:
    """What a generator remembers between steps.

    `lengths` [R] counts the tokens that each hypothesis has taken in (the source's too, where a model reads it as the
    beginning of the text); `shortest` and `longest` are its bounds, known without asking the device. Caches grow as
    needed and hold junk beyond a row's length: readers mask by position. `caches` names them.
    A recurrence has no cache but one state that each step replaces (`carried`, `carry`).
    """

    def __init__(self, sentences: int, device: torch.device) -> None:
        self.sentence: dict[str, Tensor] = {}
        self.hypothesis: dict[str, Tensor] = {}
        self.lengths = torch.zeros(sentences, dtype=torch.long, device=device)
        self.shortest = self.longest = 0
        self.fanout = 1
        self.caches: set[str] = set()
        self._recurrent = False

    def positions(self, count: int) -> Tensor:
        """Positions of the next `count` tokens: [1, L] while all rows are equally long, else [R, L]."""
        start = self.lengths[:, None] if self.shortest < self.longest else self.lengths[:1, None]
        return start + torch.arange(count, device=self.lengths.device)

    def slots(self, count: int) -> Tensor:
        """Positions [1, K] of all that a cache holds once `count` more tokens are in it: slot and position agree."""
        return torch.arange(self.longest + count, device=self.lengths.device)[None]

    def once(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """The per-sentence tensor `name`, computed on first use."""
        if name not in self.sentence:
            self.sentence[name] = compute()
        return self.sentence[name]

    def append(self, name: str, new_RHLC: Tensor) -> Tensor:
        """Writes new rows into the cache `name` behind each hypothesis' length; returns the used part [R, H, K, C]."""
        rows, heads, count, size = new_RHLC.shape
        end = self.longest + count
        cache = self.hypothesis.get(name)
        if torch.compiler.is_exporting():  # a graph keeps no room: what it is given is as long as what it holds
            joined = self.hypothesis[name] = new_RHLC if cache is None else torch.cat((cache, new_RHLC), 2)
            return joined
        if cache is None or cache.shape[2] < end:
            grown = new_RHLC.new_zeros(rows, heads, end + max(15, end // 2), size)
            if cache is not None:
                grown[:, :, : self.longest] = cache[:, :, : self.longest]
            cache = self.hypothesis[name] = grown
            self.caches.add(name)
        if self.shortest < self.longest:
            slots = self.positions(count)[:, None, :, None].expand(-1, heads, -1, size)
            cache.scatter_(2, slots, new_RHLC)
        else:
            cache[:, :, self.longest : end] = new_RHLC
        return cache[:, :, :end]

    def carried(self, name: str) -> Tensor | None:
        """What a recurrence remembers of each hypothesis, [R, ...], or None before the first token."""
        return self.hypothesis.get(name)

    def carry(self, name: str, value: Tensor) -> None:
        """Remembers `value` [R, ...] in place of the last one. There is no way back: see `rewind`."""
        self.hypothesis[name] = value
        self._recurrent = True

    def advance(self, count: int) -> None:
        """Declares that every hypothesis has taken in `count` more tokens."""
        self.lengths = self.lengths + count
        self.shortest += count
        self.longest += count

    def repeat(self, count: int) -> None:
        """Each hypothesis becomes `count` neighbouring ones."""
        self._choose(torch.arange(len(self.lengths), device=self.lengths.device).repeat_interleave(count))
        self.fanout *= count

    def reorder(self, rows: Tensor) -> None:
        """Hypothesis r becomes a copy of hypothesis rows[r] [R], of the same sentence. One that stays what it is costs
        nothing: its caches are left where they are."""
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        if not len(moved):
            return
        sources = rows.index_select(0, moved)
        for name, value in self.hypothesis.items():
            if name in self.caches:
                used = value[:, :, : self.longest]
                used.index_copy_(0, moved, used.index_select(0, sources))
            else:  # the model may still hold what it gave
                self.hypothesis[name] = value.index_select(0, rows)
        self._choose_lengths(rows)

    def keep(self, sentences: Tensor) -> None:
        """Keeps only these sentences, given by index [n], in this order, with all their hypotheses."""
        self.sentence = {name: value.index_select(0, sentences) for name, value in self.sentence.items()}
        offsets = torch.arange(self.fanout, device=sentences.device)
        self._choose((sentences[:, None] * self.fanout + offsets).flatten())

    def rewind(self, lengths: Tensor) -> None:
        """Forgets what each hypothesis took in beyond lengths[r] [R] (rejected guesses of speculative decoding).

        Raises ValueError where a recurrence carries a state: it cannot go back.
        """
        if self._recurrent:
            raise ValueError("a recurrent model cannot take back what it has read: start again from `begin`")
        assert bool((lengths <= self.lengths).all()), "rewind goes back only"
        self.lengths = lengths.clone()
        self.shortest, self.longest = int(lengths.min()), int(lengths.max())

    def _choose(self, rows: Tensor) -> None:
        self.hypothesis = {name: value.index_select(0, rows) for name, value in self.hypothesis.items()}
        self._choose_lengths(rows)

    def _choose_lengths(self, rows: Tensor) -> None:
        self.lengths = self.lengths.index_select(0, rows)
        if self.shortest < self.longest and len(rows):  # the longest may be gone
            self.shortest, self.longest = int(self.lengths.min()), int(self.lengths.max())
