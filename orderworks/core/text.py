"""Texts from outside: the white space around them, and the characters in them that cannot be seen."""

WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
"""Characters removed around a value: white space as Unicode has it, and characters without a width."""

MINUS_LIKE = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d")
"""Characters that resemble the minus of a number."""


def visible(text: str) -> str:
    r"""Return the text with an escape, such as `\xa0`, for each character that cannot be seen as it is.

    These are control and format characters, white space other than the space, and dashes that
    resemble a minus.
    """
    if text.isprintable() and MINUS_LIKE.isdisjoint(text):
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable() and character not in MINUS_LIKE:
        return character
    return character.encode("unicode_escape").decode()
