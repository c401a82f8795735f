"""Configuration: a strict frozen tree of pydantic models, read from YAML 1.2, merged, overridden, dumped. Generic.

Notable: the union of a family is its registry (`Family`); every string remembers the directory of the file where it
was written, so that a path (`FilePath`) means the same through any chain of `base:`; the environment is read and the
tree is validated once, after all merging; one message lists every mistake with its path, value, choices and nearest.
"""

from kakehashi.config.base import Config, Family, FilePath, schema
from kakehashi.config.loading import load, resolve
from kakehashi.config.overrides import is_override
from kakehashi.config.tree import dump, merge
from kakehashi.config.wording import ConfigError

__all__ = [
    "Config",
    "ConfigError",
    "Family",
    "FilePath",
    "dump",
    "is_override",
    "load",
    "merge",
    "resolve",
    "schema",
]
