"""An index over the names of a watchlist, built once and then asked for each subject.

Asking compares each word of the query with every distinct word of the list (in rapidfuzz, that is in native code),
gathers the names that hold similar words, and scores only those that can still reach the threshold.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from math import log
from typing import Final

import msgspec
from rapidfuzz import process
from rapidfuzz.distance import OSA

from shared.screening.engines.watchlist.entries import Entry
from shared.screening.engines.watchlist.names import PARTICLES, sound, tokens
from shared.screening.engines.watchlist.scoring import (
    INITIAL,
    KNOWN_NAME_FACTOR,
    LEAST_SIMILARITY,
    PARTICLE_WEIGHT,
    SAME_SOUND,
    Token,
    name_score,
)

# A weak alias must match better by so much.
_WEAK_ALIAS_PENALTY: Final = 0.1

# Words of fewer letters sound like too many others.
_LEAST_SOUND: Final = 4

# Names that go on to full scoring, the most promising first. Far above what the threshold lets through.
_MOST_SCORED: Final = 150


class IndexedName(msgspec.Struct, frozen=True):
    """One name of one entry, as written and as tokens."""

    entry: Entry
    text: str
    weak: bool
    tokens: tuple[Token, ...]


class NameHit(msgspec.Struct, frozen=True):
    """A name that is like the query's, with how much (0 to 1)."""

    name: IndexedName
    score: float


class WatchlistIndex:
    """The names of the individuals of a list, searchable by likeness."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        named = [
            (entry, text, weak, words)
            for entry in entries
            if entry.kind == "individual"
            for text, weak in ((entry.name, False), *((alias.name, alias.weak) for alias in entry.aliases))
            if (words := tokens(text))
        ]
        # A word counts once per entry, however many aliases repeat it.
        bearers: defaultdict[str, set[str]] = defaultdict(set)
        for entry, _, _, words in named:
            for word in words:
                bearers[word].add(entry.entry_id)
        self._frequency = Counter({word: len(ids) for word, ids in bearers.items()})
        self._scale = log(max(len({entry.entry_id for entry, *_ in named}), 2))
        self._words = list(self._frequency)
        self._by_sound: defaultdict[str, list[str]] = defaultdict(list)
        self._by_initial: defaultdict[str, list[str]] = defaultdict(list)
        for word in self._words:
            if len(word) >= _LEAST_SOUND:
                self._by_sound[sound(word)].append(word)
            self._by_initial[word[0]].append(word)
        self._names = [
            IndexedName(entry, text, weak, tuple(map(self._token, words))) for entry, text, weak, words in named
        ]
        self._postings: defaultdict[str, list[int]] = defaultdict(list)
        for number, name in enumerate(self._names):
            texts = [token.text for token in name.tokens]
            for word in {*texts, *map("".join, pairwise(texts))}:
                self._postings[word].append(number)

    def search(self, name: str, *, least: float) -> list[NameHit]:
        """The names of the list that score at least so much, at most one per entry, the likest first."""
        query = tuple(map(self._token, tokens(name)))
        joined = [one.text + other.text for one, other in pairwise(query)]
        words = dict.fromkeys(token.text for token in query)
        similar = {word: {word: 1.0} for word in joined} | {word: self._similar_words(word) for word in words}
        hits: dict[str, NameHit] = {}
        for number in self._promising(similar):
            listed = self._names[number]
            score = name_score(query, listed.tokens, lambda mine, theirs: similar[mine].get(theirs, 0.0))
            score -= _WEAK_ALIAS_PENALTY if listed.weak else 0.0
            known = hits.get(listed.entry.entry_id)
            if score >= least and (known is None or score > known.score):
                hits[listed.entry.entry_id] = NameHit(listed, score)
        return sorted(hits.values(), key=lambda hit: (-hit.score, hit.name.entry.entry_id))

    def _token(self, word: str) -> Token:
        rarity = 1.0 - log(max(self._frequency[word], 1)) / self._scale
        if word in PARTICLES:
            return Token(word, PARTICLE_WEIGHT, 0.0)
        return Token(word, 0.5 + 0.5 * rarity, rarity)

    def _similar_words(self, word: str) -> dict[str, float]:
        """The words of the list that may be this one, with their similarity."""
        if len(word) == 1:
            return dict.fromkeys(self._by_initial.get(word, ()), INITIAL) | {word: 1.0}
        found = {
            other: value
            for other, value, _ in process.extract(
                word, self._words, scorer=OSA.normalized_similarity, score_cutoff=LEAST_SIMILARITY, limit=None
            )
        }
        if len(word) >= _LEAST_SOUND:
            found.update(
                (other, max(found.get(other, 0.0), SAME_SOUND)) for other in self._by_sound.get(sound(word), ())
            )
        if word in self._frequency:
            found = {other: 1.0 - (1.0 - value) * KNOWN_NAME_FACTOR for other, value in found.items()}
        found[word[0]] = INITIAL
        found[word] = 1.0
        return found

    def _promising(self, similar: dict[str, dict[str, float]]) -> list[int]:
        """Numbers of the names that share most with the query, the most promising first."""
        shared: defaultdict[int, float] = defaultdict(float)
        for mine, words in similar.items():
            weight = self._token(mine).weight
            for word, value in words.items():
                gain = value * weight
                for number in self._postings.get(word, ()):
                    shared[number] += gain
        ranked = sorted(shared, key=lambda number: -shared[number] / len(self._names[number].tokens) ** 0.5)
        return ranked[:_MOST_SCORED]
