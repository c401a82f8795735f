"""What of a source must be in its translation."""


def translatable(text: str) -> bool:
    """Whether there is anything to translate: a letter."""
    return any(map(str.isalpha, text))
