"""Names as comparable tokens: Latin letters, lower case, no accents, no titles."""

import re
from typing import Final

from anyascii import anyascii

_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_CAPITAL_INSIDE: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_INSIDE_WORD: Final = str.maketrans(dict.fromkeys("'`"))
_WORD: Final = re.compile(r"[a-z0-9]+")

# Forms of address and generation marks: they come and go and tell two people apart only by accident.
_TITLES: Final = frozenset(
    {"dr", "mr", "mrs", "ms", "miss", "prof", "professor", "sir", "lord", "general", "gen", "colonel", "col", "major"}
    | {"captain", "lieutenant", "brigadier", "engineer", "eng", "jr", "sr", "ii", "iii", "iv"}
    | {"haji", "hajji", "hajj", "mullah", "mawlawi", "maulvi", "sheikh", "shaykh", "sayyid", "sayed"}
)

# Articles and links inside names. They are kept, at little weight: al Hassan and Hassan are near, not the same.
PARTICLES: Final = frozenset(
    {"al", "el", "ul", "ur", "as", "ad", "bin", "ben", "ibn", "bint", "abu", "abou", "de", "la", "las", "los", "del"}
    | {"di", "da", "das", "do", "dos", "du", "der", "den", "van", "von", "y", "e", "the", "zu"}
)

# Spellings of one sound, applied in order: they bring together Sergey and Sergei, Qasim and Kassem, Husayn and Hussein.
_SOUNDS: Final = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        (r"(.)\1+", r"\1"),
        (r"tch|tsch|ch|sch|sh", "x"),
        (r"ph", "f"),
        (r"kh|gh|q|ck|k|c(?![eiy])|g(?=h)", "k"),
        (r"c", "s"),
        (r"dj|dzh|zh|j", "j"),
        (r"dh", "d"),
        (r"th", "t"),
        (r"z$", "s"),
        (r"ks|x(?=s)", "x"),
        (r"w|v", "v"),
        (r"iy|yi|ey|ei|ay|ai|ie|ee|y|e", "i"),
        (r"ou|oo|u|o", "u"),
        (r"(?<=.)h(?![aiu])|(?<=[aiu])h(?=[aiu])", ""),
        (r"([aiu])[aiu]+(?=.)", r"\1"),
        (r"(.)\1+", r"\1"),
    )
)


def fold(text: str) -> str:
    """Latin lower case of a text in any script, words separated by one space, no punctuation."""
    # Scripts without capitals that are written without spaces come out of anyascii as WangXiaoMing.
    latin = _NOT_ASCII.sub(lambda found: _CAPITAL_INSIDE.sub(" ", anyascii(found[0])), text)
    return " ".join(_WORD.findall(latin.translate(_INSIDE_WORD).lower()))


def tokens(name: str) -> tuple[str, ...]:
    """The words of a name in its order, without titles unless it consists of them."""
    words = fold(name).split()
    return tuple(word for word in words if word not in _TITLES) or tuple(words)


def sound(token: str) -> str:
    """A key that spellings of the same sound share."""
    for pattern, replacement in _SOUNDS:
        token = pattern.sub(replacement, token)
    return token
