"""Where lines that are too long for a model are split."""

import pytest

from kakehashi.data.splitting import split_text


@pytest.mark.parametrize(
    ("text", "size", "pieces"),
    [
        ("short", 9, ["short"]),
        ("One. Two! Three?", 9, ["One.", "Two!", "Three?"]),
        ("He paid 3.50 now. Yes.", 18, ["He paid 3.50 now.", "Yes."]),
        ('He said "no." Then he left.', 20, ['He said "no."', "Then he left."]),
        ("猫だ。「犬だ。」家だ！", 6, ["猫だ。", "「犬だ。」", "家だ！"]),
        ("one, two, three, four", 10, ["one, two,", "three,", "four"]),
        ("one two three four", 8, ["one two", "three", "four"]),
        ("abcdefghijk", 4, ["abcd", "efgh", "ijk"]),
        ("", 4, [""]),
        ("        ", 4, ["        "]),
    ],
)
def test_split_text(text: str, size: int, pieces: list[str]) -> None:
    assert split_text(text, lambda piece: len(piece) <= size) == pieces
