"""The vocabulary of one text, for language models: characters, or subwords as translators have them.

Ids are laid out alike in both: four special ones, the 256 bytes, then the pieces. Nothing is ever unknown, since what
the pieces lack is spelled in UTF-8 bytes, and `decode(encode(text)) == text`; so the id UNKNOWN stands in no text.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Protocol

from kakehashi.config import Config, Family
from kakehashi.data.subwords import BPE, JOINT_FILE, UNKNOWN, Segmenter, Unigram, train_segmenter
from kakehashi.errors import UserError

FIRST_BYTE = UNKNOWN + 1
FIRST_PIECE = FIRST_BYTE + 256
MASK = UNKNOWN  # what hides a token in masked prediction
CHARACTERS_FILE = "vocabulary.json"


class Characters(Config):
    """Every character of the training text is a piece."""

    kind: Literal["characters"] = "characters"


Vocabulary = Annotated[Characters | Unigram | BPE, Family()]


class TextSegmenter(Protocol):
    """A lossless map between text and ids."""

    size: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def save(self, path: Path) -> None: ...


class CharacterSegmenter:
    """An id a character."""

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = "".join(characters)
        self._spelled = [b""] * FIRST_BYTE + [bytes([byte]) for byte in range(256)]
        self._spelled += [character.encode() for character in self.characters]
        self._ids = {character: [FIRST_PIECE + i] for i, character in enumerate(self.characters)}
        self.size = len(self._spelled)

    @classmethod
    def load(cls, path: Path) -> "CharacterSegmenter":
        """Raises UserError when there is no such file or it is damaged."""
        try:
            return cls(json.loads(path.read_text("utf-8"))["characters"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} holds no characters: {error}") from error

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"characters": self.characters}, ensure_ascii=False) + "\n", "utf-8")

    def encode(self, text: str) -> list[int]:
        """Without special ids. Raises UserError for half a surrogate pair, which is no text."""
        try:
            return [id for character in text for id in self._ids.get(character) or _bytes(character)]
        except UnicodeEncodeError as error:
            raise UserError(f"half a surrogate pair is no character: mend the text {text[:60]!r}") from error

    def decode(self, ids: Sequence[int]) -> str:
        """Special ids give nothing; bytes that are no UTF-8 give U+FFFD."""
        return b"".join(self._spelled[id] for id in ids).decode("utf-8", errors="replace")


def _bytes(character: str) -> list[int]:
    return [FIRST_BYTE + byte for byte in character.encode()]


def train_vocabulary(config: Characters | Unigram | BPE, texts: Iterable[str]) -> TextSegmenter:
    """Raises UserError when there is no text, or it does not fit the size."""
    if isinstance(config, Characters):
        characters: set[str] = set()
        characters.update(*texts)
        return CharacterSegmenter(sorted(characters))
    return train_segmenter(config, (line for text in texts for line in text.split("\n")))


def save_vocabulary(segmenter: TextSegmenter, directory: Path) -> None:
    """Writes vocabulary.json, or subwords.model."""
    segmenter.save(directory / (CHARACTERS_FILE if isinstance(segmenter, CharacterSegmenter) else JOINT_FILE))


def load_vocabulary(config: Characters | Unigram | BPE, directory: Path) -> TextSegmenter:
    """Reads what `save_vocabulary` wrote. Raises UserError when it is missing or damaged."""
    if isinstance(config, Characters):
        return CharacterSegmenter.load(directory / CHARACTERS_FILE)
    return Segmenter.load(directory / JOINT_FILE)
