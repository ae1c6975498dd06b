"""Changes to a message that a fair judge doesn't care about: what people type in a hurry, on a phone, without diacritics."""

from __future__ import annotations

import random
import re
import unicodedata

_EMOJI = ("🙂", "👍", "😊")
_LETTER_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_WORDS_A_TYPO = 10  # three careless slips are a fault of their own, so a message gets two at most
_END = re.compile(r"(?<=\w)[.!]$")


def without_diacritics(text: str) -> str:
    """Returns the text as people type it on a keyboard without marks: ``mulțumesc`` becomes ``multumesc``."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def type_badly(text: str, draw: random.Random) -> str:
    """Makes one slip every ten words, two at most: letters swapped, lost, doubled, or taken from the key beside."""
    words = list(_LONG_WORD.finditer(text))
    slips = min(2, 1 + len(words) // _WORDS_A_TYPO, len(words))
    # From the end, so that the earlier words stay where they were found.
    for word in sorted(draw.sample(words, slips), key=lambda found: -found.start()):
        text = text[: word.start()] + _slip(word.group(), draw) + text[word.end() :]
    return text


def type_in_a_hurry(text: str, draw: random.Random) -> str:
    """Applies some of: no diacritics, lower case, typos, another end, an emoji.

    Diacritics go most often: of these changes, their loss cost an earlier model most (docs/results.md).
    """
    if draw.random() < 0.7:
        text = without_diacritics(text)
    if draw.random() < 0.6:
        text = text.lower()
    if draw.random() < 0.6:
        text = type_badly(text, draw)
    if draw.random() < 0.5:
        text = toggle_end(text)
    if draw.random() < 0.2:
        text = f"{text} {draw.choice(_EMOJI)}"
    return text


def toggle_end(text: str) -> str:
    """Takes a full stop or exclamation mark from the end, or adds a full stop where the text ends in a letter."""
    if _END.search(text):
        return text[:-1]
    return text + "." if text[-1].isalnum() else text


def _slip(word: str, draw: random.Random) -> str:
    at = draw.randrange(1, len(word) - 1)  # people see what is wrong with the first letter
    kind = draw.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    return word[:at] + _neighbour(word[at], draw) + word[at + 1 :]


def _neighbour(letter: str, draw: random.Random) -> str:
    for row in _LETTER_ROWS:
        if (place := row.find(letter)) >= 0:
            return draw.choice(row[max(0, place - 1) : place] + row[place + 1 : place + 2])
    return letter  # a capital or a letter with diacritics stays
