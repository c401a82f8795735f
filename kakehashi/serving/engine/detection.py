"""Which language a text is in, by lingua (naive Bayes over letter n-grams), among those that a text can be in."""

from collections.abc import Sequence

from lingua import Language, LanguageDetectorBuilder

from kakehashi.data.languages import unsubtagged
from kakehashi.serving.engine.protocol import Detection

# More are told apart by trigrams alone (weaker on single words): 20 MB and 0.8 s of loading a language are saved.
THOROUGH = 10
ENOUGH = 1000  # characters of a text: more make no difference but cost time


class Detector:
    """`languages`: the codes that are told apart. One that lingua does not know is found only where it is the only
    one."""

    def __init__(self, languages: Sequence[str]) -> None:
        self.languages = tuple(languages)
        known = {each.iso_code_639_1.name.lower(): each for each in Language.all()}
        codes: dict[Language, str] = {}
        for code in languages:  # of zh-hans and zh-hant the first
            if (language := known.get(unsubtagged(code))) is not None:
                codes.setdefault(language, code)
        self._codes = codes
        self._detector = None
        if len(codes) > 1:
            builder = LanguageDetectorBuilder.from_languages(*codes).with_preloaded_language_models()
            self._detector = (builder if len(codes) <= THOROUGH else builder.with_low_accuracy_mode()).build()

    def detect(self, text: str) -> list[Detection]:
        """The likeliest first; none where there is no letter, or nothing that any of the languages is written in."""
        text = text.strip()[:ENOUGH].encode("utf-8", "replace").decode("utf-8")  # lone surrogates
        if not any(map(str.isalpha, text)):
            return []
        if self._detector is None:
            return [Detection(code, 1.0) for code in (*self._codes.values(), *self.languages)[:1]]
        found = self._detector.compute_language_confidence_values(text)
        return [Detection(self._codes[each.language], each.value) for each in found if each.value > 0]
