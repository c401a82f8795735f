"""The command line: one thin function a command.

Exit codes: 0 done; 2 the user's mistake, with one clear message; 1 a fault of ours; 130 stopped by the user, all saved.
An argument `key=value` whose left side is a path of the configuration is an override.
"""

# Each module adds its commands to `app` when it is imported: this is the order of `kakehashi --help`.
from kakehashi.cli import training, translation, generation, evaluation, inspection, interchange, serving  # isort: skip
from kakehashi.cli.program import app, main

__all__ = ["app", "evaluation", "generation", "inspection", "interchange", "main", "serving", "training", "translation"]
