"""Argos Translate (argos-translate-lt): installs a package into a folder of its own and translates lines by its API.

An order on standard input, the last line of standard output the answer: see `benchmarks/argos.py`. Runs in Argos's own
environment. The library is as it comes; whatever of it wants the network gets an error.
"""

import json
import socket
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def refuse(*_: Any) -> None:
    raise OSError("no network here")


def main() -> None:
    order = json.load(sys.stdin)
    socket.socket.connect = refuse
    from argostranslate import package, translate

    package.install_from_path(Path(order["package"]))
    (translation,) = (
        each
        for language in translate.get_installed_languages()
        for each in language.translations_from
        if isinstance(each, translate.CachedTranslation)
    )
    found = [translation.translate(line) for line in order["lines"]]
    versions = {name: version(name) for name in ("argos-translate-lt", "ctranslate2", "minisbd")}
    codes = translation.from_lang.code, translation.to_lang.code
    print(json.dumps({"translations": found, "codes": codes, "versions": versions}))


if __name__ == "__main__":
    main()
