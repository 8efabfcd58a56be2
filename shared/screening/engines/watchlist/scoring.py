"""How alike two names are, token by token in any order, and what other evidence says.

Between two tokens stands the share of letters that need no edit (one swap of neighbours is one edit), or a fixed value
for spellings of one sound and for an initial. Tokens are paired best first. The name's score is the weight of what is
paired over the weight of everything, where rare tokens weigh more than common ones, and particles little.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from shared.screening.engines.base import Evidence, Subject
from shared.screening.engines.watchlist.entries import Entry

SAME_SOUND: Final = 0.9
INITIAL: Final = 0.9
PARTICLE_WEIGHT: Final = 0.2
INITIAL_WEIGHT: Final = 0.35

# A token that is a known name itself is rather another name than a slip of the pen: Mario is not a misspelt Maria.
KNOWN_NAME_FACTOR: Final = 1.6

# Below this, two tokens are different names.
LEAST_SIMILARITY: Final = 0.6

# Unpaired tokens on both sides contradict one another. On one side only, they may just have been left out (a second
# surname, a middle name): how much that counts against the match falls from all of it to a share as the paired tokens
# become more telling. The unit: 1 for a token that occurs once.
_TELLING: Final = (1.25, 1.8)
_LACKING_SHARE: Final = 0.3

# What disagreeing evidence takes away.
YEAR_DISJOINT: Final = 0.15
DAY_DISJOINT: Final = 0.25
COUNTRY_DISJOINT: Final = 0.2
GENDER_DISJOINT: Final = 0.2


class Token(msgspec.Struct, frozen=True):
    """A word of a name with its weight in the score, and how telling it is: 1 if rare, towards 0 if common."""

    text: str
    weight: float
    telling: float


class Evidences(msgspec.Struct, frozen=True):
    """What speaks for and against, besides the name, and the sum that it takes from the score.

    `same_day` says that the entry gives the subject's very day of birth.
    """

    agrees: tuple[Evidence, ...]
    disagrees: tuple[Evidence, ...]
    penalty: float
    same_day: bool


def name_score(left: tuple[Token, ...], right: tuple[Token, ...], similarity: Callable[[str, str], float]) -> float:
    """How alike two names are, from 0 to 1, whatever the order of their tokens."""
    left, right = _joined(left, right), _joined(right, left)
    candidates = sorted(
        (
            (value, min(one.weight, other.weight), i, j)
            for i, one in enumerate(left)
            for j, other in enumerate(right)
            if (value := similarity(one.text, other.text)) >= LEAST_SIMILARITY
        ),
        reverse=True,
    )
    free_left, free_right = set(range(len(left))), set(range(len(right)))
    paired = weighed = telling = 0.0
    for value, _, i, j in candidates:
        if i not in free_left or j not in free_right:
            continue
        free_left.discard(i)
        free_right.discard(j)
        initial = len(left[i].text) == 1 or len(right[j].text) == 1
        weight = 2 * INITIAL_WEIGHT if initial else left[i].weight + right[j].weight
        weighed += weight
        paired += weight * value
        telling += 0.0 if initial else value * min(left[i].telling, right[j].telling)
    if not weighed:
        return 0.0
    unpaired_left, unpaired_right = sum(left[i].weight for i in free_left), sum(right[j].weight for j in free_right)
    contradicting = 2 * min(unpaired_left, unpaired_right)
    lacking = abs(unpaired_left - unpaired_right)
    return paired / (weighed + contradicting + lacking * _lacking_share(telling))


def _joined(name: tuple[Token, ...], other: tuple[Token, ...]) -> tuple[Token, ...]:
    """A name with those neighbours made one that are one in the other: al Zawahiri beside Alzawahiri."""
    whole = {token.text: token for token in other}
    merged: list[Token] = []
    for token in name:
        if merged and (joined := whole.get(merged[-1].text + token.text)):
            merged[-1] = joined
        else:
            merged.append(token)
    return tuple(merged)


def _lacking_share(telling: float) -> float:
    low, high = _TELLING
    progress = min(max((telling - low) / (high - low), 0.0), 1.0)
    return 1.0 - progress * (1.0 - _LACKING_SHARE)


def weigh_evidence(subject: Subject, countries: frozenset[str], entry: Entry) -> Evidences:
    """Compare date of birth, countries (of the subject as codes) and gender with those of an entry."""
    penalties: dict[Evidence, float | None] = {
        "date_of_birth": _birth_penalty(subject, entry),
        "country": _disjoint_penalty(countries, entry.countries, COUNTRY_DISJOINT),
        "gender": _disjoint_penalty(_known(subject.gender), _known(entry.gender), GENDER_DISJOINT),
    }
    known = {name: value for name, value in penalties.items() if value is not None}
    return Evidences(
        agrees=tuple(name for name, penalty in known.items() if not penalty),
        disagrees=tuple(name for name, penalty in known.items() if penalty),
        penalty=sum(known.values()),
        same_day=any(listed.exact and listed.earliest == subject.date_of_birth for listed in entry.birth_dates),
    )


def _birth_penalty(subject: Subject, entry: Entry) -> float | None:
    """The mildest penalty over the entry's alternative dates; None if either side has no date.

    Year and day are penalised separately, so that an entirely different date takes both away. A day cannot disagree
    with a listed year alone; a swap of day and month takes half.
    """
    born = subject.date_of_birth
    if born is None or not entry.birth_dates:
        return None
    penalties = []
    for listed in entry.birth_dates:
        if listed.admits(born):
            return 0.0
        same_year = listed.admits_year(born)
        if listed.exact and same_year and (listed.earliest.month, listed.earliest.day) == (born.day, born.month):
            penalties.append(DAY_DISJOINT / 2)
        else:
            day = DAY_DISJOINT if same_year or not listed.whole_years else 0.0
            penalties.append(day + (0.0 if same_year else YEAR_DISJOINT))
    return min(penalties)


def _disjoint_penalty(left: frozenset[str], right: frozenset[str], penalty: float) -> float | None:
    if not left or not right:
        return None
    return penalty if left.isdisjoint(right) else 0.0


def _known(value: str | None) -> frozenset[str]:
    return frozenset({value}) if value else frozenset()
