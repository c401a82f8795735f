"""Language codes as clients write and read them, to and from those of the engine.

In, any case and LibreTranslate's own short codes are understood: `pb` is `pt-br`, `zt` is `zh-hant`, and `zh` and
`zh-hans` are one. Out, subtags are written as in BCP 47 (section 2.1.1: `pt-BR`, `zh-Hant`), and `zh` as `zh-Hans`.
"""

from collections.abc import Sequence

from kakehashi.data.languages import ARGOS
from kakehashi.serving.engine.protocol import Language

_OTHER_NAMES = ARGOS | {"zh": "zh-hans"}


def shown(code: str) -> str:
    """The engine's code as clients read it."""
    language, *subtags = _OTHER_NAMES["zh"].split("-") if code == "zh" else code.split("-")
    if language == "x":
        return code
    return "-".join([language, *map(_subtag, subtags)])


def _subtag(text: str) -> str:
    """A script has four letters, a region two."""
    return {4: text.title(), 2: text.upper()}.get(len(text), text)


class Codes:
    """The codes of the languages that an engine knows."""

    def __init__(self, languages: Sequence[Language]) -> None:
        self.languages = {language.code: language for language in languages}
        self._known = {_OTHER_NAMES[code]: code for code in self.languages if code in _OTHER_NAMES}
        self._known |= {code: code for code in self.languages}

    def read(self, text: str) -> str | None:
        """The engine's code for a client's, or None for a language that it does not know."""
        return self._known.get(text.lower().replace("_", "-"))

    def nearest(self, code: str) -> str | None:
        """The same, or else a relative with the same first subtag (pt for pt-br): what detection may have meant."""
        primary = code.split("-")[0]
        relatives = (known for known in self.languages if known.split("-")[0] == primary)
        return self.read(code) or next(relatives, None)

    def title(self, code: str) -> str:
        """Its name and code, as in LibreTranslate's messages: Spanish (es)."""
        return f"{self.languages[code].name} ({code})"
