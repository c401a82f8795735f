"""LibreTranslate, which runs in its own environment and takes its settings from the variables LT_... and ARGOS_...

    python -m benchmarks.peers.libretranslate  its own server, waitress, with LT_THREADS threads

Notable: two things that it would fetch from the network are left out. It looks for no models beside those that are
there; and texts are not cut into sentences, which its default does with a network of ONNX: a text here is one sentence,
and so this saves it work.
"""

from typing import Any

from argostranslate.sbd import MiniSBDSentencizer
from libretranslate import init
from libretranslate.main import main


def whole(_: MiniSBDSentencizer, text: str) -> list[str]:
    return [text]


def nothing(**_: Any) -> None:
    """No models are looked for."""


MiniSBDSentencizer.split_sentences = whole
init.check_and_install_models = nothing

if __name__ == "__main__":
    main()
