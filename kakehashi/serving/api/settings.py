"""What a server is told: by a file (YAML), the environment or options; the later of these three wins, value by value.

A setting `limits.minute` is the variable `KAKEHASHI_LIMITS_MINUTE` and the option `limits.minute=60`. `table` is the
one list of all settings, which docs/serving.md shows.
"""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any, Literal, NamedTuple, get_origin

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr

from kakehashi.config import Config, ConfigError, resolve
from kakehashi.config.places import alternatives
from kakehashi.config.tree import parse
from kakehashi.serving.api.limits import Access, Limits
from kakehashi.serving.api.metrics import MetricsSettings
from kakehashi.serving.api.shelf import FileSettings
from kakehashi.serving.corrections.memory import MemorySettings
from kakehashi.serving.engine.engine import EngineSettings

PREFIX = "KAKEHASHI_"
OTHERS = {"KAKEHASHI_DATA", "KAKEHASHI_CACHE"}  # variables of the rest of Kakehashi


class ServerSettings(Config):
    """All that a server is told."""

    host: str = Field(
        default="127.0.0.1", description="The address on which to listen; 0.0.0.0 is each of the machine."
    )
    port: int = Field(default=5000, ge=0, le=65_535, description="The port; 0 takes a free one.")
    proxies: tuple[str, ...] = Field(
        default=("127.0.0.1", "::1"),
        description="Addresses or networks of proxies whose word on a client's address is believed (X-Forwarded-For).",
    )
    deadline: PositiveFloat = Field(
        default=300.0, description="Seconds after which a text that is not done is given up."
    )
    drain: PositiveInt = Field(default=30, description="Seconds for what was accepted, after SIGTERM.")
    admin_key: SecretStr | None = Field(
        default=None, description="The key with which corrections are reviewed; null: nobody may over HTTP."
    )
    engine: EngineSettings = Field(default_factory=EngineSettings)
    limits: Limits = Limits()
    access: Access = Access()
    memory: MemorySettings = Field(default_factory=MemorySettings)  # its path is relative to where the server begins
    files: FileSettings = FileSettings()
    metrics: MetricsSettings = MetricsSettings()


class Setting(NamedTuple):
    """A leaf of the settings."""

    path: tuple[str, ...]
    annotation: Any
    default: Any
    description: str

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        return PREFIX + "_".join(self.path).upper()


def settings_of(config: type[Config] = ServerSettings, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Every setting, in the order of their declaration."""
    for name, field in config.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Config):
            yield from settings_of(inner, (*path, name))
        else:
            default = Ellipsis if field.default_factory else field.default
            yield Setting((*path, name), field.annotation, default, field.description or "")


def load_settings(file: Path | None, environment: Mapping[str, str], options: Sequence[str]) -> ServerSettings:
    """Raises ConfigError, which lists every mistake."""
    tree = _from_environment(environment)
    if file is not None:
        tree["base"] = os.path.abspath(file)
    return resolve(tree, ServerSettings, options)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """The tree of all variables that are settings. Raises ConfigError for one that is nearly one."""
    known = {setting.variable: setting for setting in settings_of()}
    tree: dict[str, Any] = {}
    for variable in environment:
        if variable in known:
            _put(tree, known[variable], environment[variable])
        elif variable not in OTHERS and (near := difflib.get_close_matches(variable, known, n=1, cutoff=0.9)):
            raise ConfigError(f"the variable {variable} is no setting; did you mean {near[0]}?")
    return tree


def _put(tree: dict[str, Any], setting: Setting, text: str) -> None:
    """Text where text is wanted, so that a key may be `0123`; else YAML, as in an option."""
    for key in setting.path[:-1]:
        tree = tree.setdefault(key, {})
    members = alternatives([setting.annotation])
    is_text = all(member in (str, SecretStr) or get_origin(member) is Literal for member in members)
    literal = text.replace("${", "$${")
    tree[setting.path[-1]] = literal if is_text else parse(literal, f"the variable {setting.variable}", Path.cwd())


def table() -> str:
    """All settings as a table in Markdown."""
    rows = ["| setting | variable | default | what it says |", "|---|---|---|---|"]
    rows += [f"| `{s.name}` | `{s.variable}` | {_shown(s.default)} | {s.description} |" for s in settings_of()]
    return "\n".join(rows) + "\n"


def _shown(default: Any) -> str:
    match default:
        case None:
            return "null"
        case EllipsisType():  # what it is depends on the machine, as the description says
            return ""
        case tuple():
            return ", ".join(f"`{each}`" for each in default) or "none"
        case bool():
            return str(default).lower()
        case _:
            return f"`{default}`"
