""".txt: every line with words in it is a segment; line ends and margins stay."""

from collections.abc import Iterable, Sequence

from kakehashi.serving.documents.encoding import decode
from kakehashi.serving.markup.inline import Inline, Text, Token, Translated, rendered, segments_of


class PlainText:
    def __init__(self, data: bytes) -> None:
        text, self._encoding = decode(data)
        self._lines = [Inline[str]([Text(line)]) for line in text.splitlines(keepends=True)]
        self.segments = segments_of(self._lines)

    def render(self, translations: Sequence[Translated]) -> bytes:
        lines = (written(tokens) for tokens in rendered(self._lines, translations))
        return self._encoding.encode("".join(lines))


def written(tokens: Iterable[Token[str]]) -> str:
    """Tokens of a format in which text stands as it is."""
    return "".join(token.text if isinstance(token, Text) else token.payload for token in tokens)
