"""What requests ask and what responses hold: the one place where values from outside are checked and described.

In forms and query strings text stands for numbers and truth too ("3", "true"). null, "" and [] are the same as absent,
and what a route does not know is ignored (`parameters.py`).
"""

from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kakehashi.serving.api import messages
from kakehashi.serving.api.refusals import Refusal
from kakehashi.serving.corrections.memory import BLANK, State, tidy

LARGEST = 2**31 - 1  # number of a correction

Text = Annotated[str, Field(min_length=1)]
Stored = Annotated[str, AfterValidator(tidy), Field(min_length=1)]


def _terms(value: object) -> object:
    """A list of terms that stay as they are, as terms that are their own translation."""
    if isinstance(value, list) and all(isinstance(term, str) for term in cast(list[object], value)):
        return {term: term for term in cast(list[str], value)}
    return value


class Asked(BaseModel):
    """What every request may hold."""

    model_config = ConfigDict(frozen=True)

    api_key: str | None = Field(default=None, description="Also as `apiKey`, or as `Authorization: Bearer KEY`.")


class Texts(Asked):
    q: Text | Annotated[list[str], Field(min_length=1)] = Field(description="A text, or (in JSON) a list of texts.")

    @property
    def texts(self) -> list[str]:
        return self.q if isinstance(self.q, list) else [self.q]


class Translate(Texts):
    source: Text = Field(description="The language of the text, or `auto`.")
    target: Text = Field(description="The language into which to translate.")
    format: str = Field(default="text", json_schema_extra={"enum": ["text", "html"]})
    alternatives: int = Field(default=0, ge=0, description="How many other translations are wanted.")
    confidence: bool = Field(default=False, description="Whether to tell the chrF to expect, from 0 to 100.")
    words: bool = Field(default=False, description="Whether to tell how likely each piece is to be right.")
    alignment: bool = Field(default=False, description="Whether to tell which characters come from which.")
    matches: bool = Field(default=False, description="Whether to show corrections of the same and of similar texts.")
    notes: bool = Field(default=False, description="Whether to tell what is known to be wrong with a translation.")
    glossary: Annotated[
        dict[Text, Text], BeforeValidator(_terms, json_schema_input_type=dict[str, str] | list[str])
    ] = Field(default={}, description="Terms and their translations, or (a list) terms that stay as they are.")
    model: Text | None = Field(default=None, description="The name of a model; without one the best for the languages.")


class Detect(Texts):
    """The language of the texts is asked for."""


class TranslateFile(Asked):
    file: Any = Field(
        default=None,
        description="The file; its name's extension says what it is.",
        json_schema_extra={"format": "binary"},
    )
    source: Text = Field(description="The language of the file, or `auto`.")
    target: Text = Field(description="The language into which to translate.")


class Suggest(Asked):
    q: Stored = Field(description="The text that was translated.")
    s: Stored = Field(description="The right translation.")
    source: Text = Field(description="The language of the text, or `auto`.")
    target: Text = Field(description="The language of the translation.")


class Decision(BaseModel):
    """What a reviewer says of a correction: another state, a better translation, or both."""

    state: State | None = None
    s: Stored | None = Field(default=None, description="The right translation.")


class Listing(BaseModel):
    """Which corrections are wanted."""

    state: State | None = None
    source: str | None = Field(default=None, description="Language of the texts.")
    target: str | None = Field(default=None, description="Language of the translations.")
    search: Stored | None = Field(default=None, description="A part of the text or of its translation.")
    before: int | None = Field(default=None, ge=1, le=LARGEST, description="The `id` after which the last page ended.")
    limit: int = Field(default=50, ge=1, le=500)


class Exchange(BaseModel):
    """A file of corrections. Languages are needed for TSV alone, which does not name them."""

    format: Literal["tmx", "tsv"] = "tmx"
    state: State = "approved"
    source: str | None = None
    target: str | None = None


M = TypeVar("M", bound=BaseModel)

_WANTED = {"q": messages.NO_TEXT, "alternatives": messages.NO_NUMBER}


def checked(schema: type[M], values: dict[str, Any]) -> M:
    """Raises Refusal (400) for what is missing, in the order of the fields, else for the first wrong value."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        details = error.errors()
        first = next((each for each in details if each["type"] == "missing"), details[0])
        raise _refused(str(first["loc"][0]) if first["loc"] else "", first["type"], first["msg"]) from error


def _refused(name: str, type: str, message: str) -> Refusal:
    if type == "missing":
        return Refusal(400, messages.MISSING, name=name)
    problem = message.removeprefix("Value error, ").replace("Input should", "should")
    if problem == BLANK:
        return Refusal(400, messages.BLANK, name=name)
    if type != "value_error" and name in _WANTED:
        return Refusal(400, _WANTED[name], name=name)
    return Refusal(400, messages.WRONG, name=name, problem=problem)


class Error(BaseModel):
    error: str


class Detected(BaseModel):
    confidence: float = Field(description="From 0 to 100.")
    language: str


class LanguageShown(BaseModel):
    code: str
    name: str
    targets: list[str]


class WordShown(BaseModel):
    """Characters of the translation, and how likely they are to be right, from 0 to 100; null for a correction."""

    start: int
    end: int
    confidence: float | None


class LinkShown(BaseModel):
    """Characters of the translation and those of the text from which they come: start and end of both."""

    source: tuple[int, int]
    target: tuple[int, int]
    weight: float


class CorrectionShown(BaseModel):
    """`q` is the text, `s` its translation, `source` and `target` their languages; times in seconds since 1970."""

    id: int
    q: str
    s: str
    source: str
    target: str
    state: State
    created: float
    changed: float


class MatchShown(BaseModel):
    """A correction of the same text (score 100) or of a similar one; `answered`: it is the translation given, or a part
    of it, and then `q` is that part of the text."""

    q: str
    s: str
    state: State
    score: float
    answered: bool


class Translated(BaseModel):
    """One value for one text, a list for a list. All but `translatedText` is there only where it was asked for."""

    translatedText: str | list[str]
    detectedLanguage: Detected | list[Detected] | None = None
    alternatives: list[str] | list[list[str]] | None = None
    confidence: float | list[float | None] | None = None
    words: list[WordShown] | list[list[WordShown]] | None = None
    alignment: list[LinkShown] | list[list[LinkShown]] | None = None
    matches: list[MatchShown] | list[list[MatchShown]] | None = None
    notes: list[str] | list[list[str]] | None = None


class TranslatedFile(BaseModel):
    translatedFileUrl: str


class Success(BaseModel):
    success: bool


class Page(BaseModel):
    corrections: list[CorrectionShown]


class Imported(BaseModel):
    imported: int


class LanguageChoice(BaseModel):
    code: str
    name: str


class LanguageChoices(BaseModel):
    source: LanguageChoice
    target: LanguageChoice


class FrontendSettings(BaseModel):
    """What a page that translates needs to know. -1: no limit; `frontendTimeout`: milliseconds of pause in typing."""

    apiKeys: bool
    charLimit: int
    filesTranslation: bool
    frontendTimeout: int
    keyRequired: bool
    language: LanguageChoices
    suggestions: bool
    supportedFilesFormat: list[str]


class Health(BaseModel):
    status: str
