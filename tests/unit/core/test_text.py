"""Characters of a text that cannot be seen."""

import pytest

from orderworks.core.text import WHITE_SPACE, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë 12.50 €", "Zoë 12.50 €"),
        ("\xa012\u202f5", r"\xa012\u202f5"),
        ("\u200b\ufeff\u2060", r"\u200b\ufeff\u2060"),
        ("\u22125", r"\u22125"),
        ("a\0\r\n\x1b", r"a\x00\r\n\x1b"),
        ("\u202eevil", r"\u202eevil"),
    ],
)
def test_characters_that_cannot_be_seen_are_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_white_space_is_that_of_unicode_and_characters_without_a_width() -> None:
    controls = "\x1c\x1d\x1e\x1f"
    of_unicode = {chr(code) for code in range(0x110000) if chr(code).isspace()} - set(controls)
    assert set(WHITE_SPACE) == of_unicode | set("\u180e\u200b\u2060\ufeff")
