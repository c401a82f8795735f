""".po (GNU gettext), by polib: messages without a translation get one.

Messages that have one stay as they are, fuzzy ones too: theirs is a person's, for a person to look at. So do obsolete
ones. Of plural forms the first is the translation of the singular and all others that of the plural; a language of one
form has that of the plural. With more than two they are guesses, and the message is marked fuzzy.
"""

import re
from collections.abc import Sequence

import polib

from kakehashi.errors import UserError
from kakehashi.serving.documents.encoding import decode
from kakehashi.serving.documents.plain import written
from kakehashi.serving.documents.tagged import tagged
from kakehashi.serving.markup.inline import Inline, Translated, rendered, segments_of

_CHARSET = re.compile(rb'"Content-Type:[^"\n]{0,200}charset=([\w.:-]+)')
_FORMS = re.compile(r"nplurals\s*=\s*([1-9])")


class Po:
    """`language`: that of the translations, for a header that names none."""

    def __init__(self, data: bytes, language: str | None) -> None:
        charset = _CHARSET.search(data)
        named = charset[1].decode("ascii") if charset else "utf-8"
        self._text, self._encoding = decode(data, "utf-8" if named == "CHARSET" else named)  # CHARSET: of a template
        self._language = language
        self._inlines = [inline for entry in _untranslated(self._read()) for inline in _messages(entry)]
        self.segments = segments_of(self._inlines)

    def _read(self) -> polib.POFile:
        if "\n" not in self._text:  # polib would take a text of one line for the path of a file
            raise UserError("the file is no .po: it has one line")
        try:
            return polib.pofile(self._text, wrapwidth=78)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise UserError(f"the file is no sound .po: {error}") from error

    def render(self, translations: Sequence[Translated]) -> bytes:
        catalogue = self._read()
        if self._language and catalogue.metadata and not catalogue.metadata.get("Language"):
            catalogue.metadata["Language"] = self._language
        forms = _FORMS.search(catalogue.metadata.get("Plural-Forms", ""))
        texts = (written(tokens) for tokens in rendered(self._inlines, translations))
        for entry in _untranslated(catalogue):
            found = [next(texts) for _ in _messages(entry)]
            if not entry.msgid_plural:
                entry.msgstr = found[0]
                continue
            count = int(forms[1]) if forms else 2
            texts_of_forms = [found[0] if form == 0 and count > 1 else found[1] for form in range(count)]
            entry.msgstr_plural = {f: entry.msgstr_plural.get(f) or text for f, text in enumerate(texts_of_forms)}
            if count > 2:
                entry.flags.append("fuzzy")
        return self._encoding.encode(str(catalogue))


def _untranslated(catalogue: polib.POFile) -> list[polib.POEntry]:
    return [entry for entry in catalogue if not (entry.obsolete or entry.translated() or entry.fuzzy) and entry.msgid]


def _messages(entry: polib.POEntry) -> list[Inline[str]]:
    return [Inline([*tagged(text)]) for text in (entry.msgid, entry.msgid_plural) if text]
