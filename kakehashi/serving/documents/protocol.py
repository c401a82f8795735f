"""What every format of documents offers."""

from collections.abc import Sequence
from typing import Protocol

from kakehashi.serving.markup.inline import Segment, Translated


class Document(Protocol):
    """A file that was read: its texts, and the file again with their translations."""

    @property
    def segments(self) -> Sequence[Segment]: ...

    def render(self, translations: Sequence[Translated]) -> bytes:
        """The file with one translation for each segment, in their order. May be asked for more than once."""
        ...
