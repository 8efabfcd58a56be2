"""How well the watchlist engine finds mangled names of a list, and how often it stops people who are not on it.

    python tests/benchmarks/watchlist_quality.py DIRECTORY [--queries 2000] [--seed 1] [--json]

DIRECTORY holds a list in OFAC's CSV form. Three measures, for the engine and for two baselines (Levenshtein over
sorted tokens, and Jaro-Winkler over the plain name, both at .85):

- recall: each query is the name of a listed person, mangled in one way; found if that person is among the hits;
  by name alone, and with the date of birth where the list has the day.
- false pairs: hits of those queries on other persons, over all (query, other person) pairs. Relatives and namesakes on
  the list count as false here, so that it cannot reach 0.
- false persons: the share of people not on the list who get any hit, once for everyday names of many countries and
  once for given and family names of the list itself put together anew, the hardest case (true namesakes of listed
  people left out of both); by name alone, and with a
  date of birth drawn evenly from 1945 to 2005, as real candidates have one.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

from rapidfuzz import process
from rapidfuzz.distance import JaroWinkler, Levenshtein

from shared.screening.engines.base import Subject
from shared.screening.engines.watchlist import Entry, WatchlistEngine, load_directory
from shared.screening.engines.watchlist.names import fold, tokens

type Matcher = Callable[[str], set[str]]
type Mangler = Callable[[list[str], list[str], random.Random], tuple[list[str], list[str]] | None]

# Everyday names of many countries, put together within each line only.
_EVERYDAY = """
James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Richard Susan Joseph Jessica
Thomas Sarah Charles Karen Daniel Nancy Matthew Lisa Anthony Betty Mark Sandra Andrew Emily Joshua Donna Kevin Ashley
/ Smith Johnson Williams Brown Jones Davis Miller Wilson Anderson Taylor Moore Jackson White Harris Clark Lewis Walker
Hall Allen Young King Wright Hill Scott Green Adams Baker Nelson Carter Mitchell Roberts Turner Phillips Campbell
| Jose Maria Juan Guadalupe Luis Ana Carlos Rosa Jorge Carmen Miguel Sofia Pedro Lucia Francisco Elena Alejandro Diana
Fernando Gabriela Ricardo Isabel Eduardo Teresa Javier Patricia / Garcia Rodriguez Martinez Hernandez Lopez Gonzalez
Perez Sanchez Ramirez Torres Flores Rivera Gomez Diaz Reyes Morales Cruz Ortiz Gutierrez Chavez Ramos Ruiz Alvarez
| Wei Fang Jun Li Ming Xiu Lei Yan Hui Jing Tao Ying / Wang Li Zhang Liu Chen Yang Huang Zhao Wu Zhou Xu Sun Ma Zhu Hu
| Minh Anh Hoa Linh Tuan Huong Duc Lan Hung Mai / Nguyen Tran Le Pham Hoang Phan Vu Dang Bui Do
| Aarav Priya Rahul Anjali Amit Pooja Raj Neha Vijay Deepa Sanjay Kavita / Sharma Patel Singh Kumar Gupta Reddy Iyer
Nair Shah Mehta Joshi Rao Das
| Mohammed Fatima Ahmed Aisha Ali Maryam Omar Layla Yusuf Zainab Hassan Noor Khalid Huda Ibrahim Salma Tariq Amina
/ Khan Hussain Malik Rahman Haddad Nasser Mansour Saleh Aziz Qureshi Farah Hamdan Khoury Najjar Siddiqui Chaudhry
| Aleksandr Olga Dmitri Natalia Sergei Irina Ivan Tatiana Andrei Elena Mikhail Svetlana / Ivanov Petrov Smirnov Popov
Volkov Sokolov Lebedev Kozlov Novikov Morozov Pavlov Orlov
| Hans Anna Lukas Julia Pierre Camille Marco Giulia Lars Ingrid Piotr Agnieszka / Muller Schmidt Schneider Dubois Moreau
Laurent Rossi Russo Ferrari Hansen Nilsson Kowalski Nowak Lindqvist
| Chukwuemeka Ngozi Oluwaseun Adaeze Kwame Abena Tendai Amara / Okafor Adeyemi Mensah Boateng Mutasa Diallo Eze Okonkwo
| Min-jun Seo-yeon Ji-hoon Soo-jin Hiroshi Yuki Takashi Akiko / Kim Lee Park Choi Tanaka Sato Suzuki Watanabe Yamamoto
"""

# Spellings that writers of the same name choose between; each is tried in both directions.
_SPELLINGS = (
    ("mohammad", "muhammad"), ("mohamed", "muhammad"), ("ahmed", "ahmad"), ("hussein", "husayn"), ("yusuf", "yousef"),
    ("abdul", "abdel"), ("sergey", "sergei"), ("aleksandr", "alexander"), ("dmitriy", "dmitry"), ("q", "k"),
    ("kh", "h"), ("ou", "u"), ("oo", "u"), ("ee", "i"), ("ey", "ei"), ("iy", "y"), ("z", "s"), ("ph", "f"), ("w", "v"),
    ("j", "dj"), ("gh", "g"), ("dh", "d"), ("ss", "s"), ("ll", "l"), ("mm", "m"), ("aa", "a"), ("ay", "ai"),
    ("ie", "i"),
)  # fmt: skip


def _swap(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _drop(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word))
    return word[:at] + word[at + 1 :]


def _replace(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word))
    return word[:at] + rng.choice("aeiourstnl") + word[at + 1 :]


def _insert(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word))
    return word[:at] + rng.choice("aeiourstnl") + word[at:]


def _respell(word: str, rng: random.Random) -> str:
    both = [pair for one, other in _SPELLINGS for pair in ((one, other), (other, one)) if pair[0] in word]
    return word.replace(*rng.choice(both), 1) if both else word


def _in_one_word(change: Callable[[str, random.Random], str]) -> Mangler:
    def mangle(given: list[str], family: list[str], rng: random.Random) -> tuple[list[str], list[str]] | None:
        places = [(words, at) for words in (given, family) for at, word in enumerate(words) if len(word) >= 4]
        if not places:
            return None
        words, at = rng.choice(places)
        words[at] = change(words[at], rng)
        return given, family

    return mangle


def _order(given: list[str], family: list[str], rng: random.Random) -> tuple[list[str], list[str]]:
    words = given + family
    rng.shuffle(words)
    return words, []


def _initials(given: list[str], family: list[str], rng: random.Random) -> tuple[list[str], list[str]] | None:
    del rng
    return ([given[0], *(word[0] for word in given[1:])], family) if len(given) > 1 else None


def _join(given: list[str], family: list[str], rng: random.Random) -> tuple[list[str], list[str]] | None:
    words = family if len(family) > 1 else given
    if len(words) < 2:
        return None
    at = rng.randrange(len(words) - 1)
    words[at : at + 2] = [words[at] + words[at + 1]]
    return given, family


def _shorten(given: list[str], family: list[str], rng: random.Random) -> tuple[list[str], list[str]] | None:
    """Leave out a second given name or a second surname, keeping at least two words."""
    del rng
    if len(given) > 1:
        return given[:1], family
    return (given, family[:1]) if len(family) > 1 and given else None


# The first group is what the aims are set for; the second is harder and reported apart.
_MANGLERS: dict[str, Mangler] = {
    "letters swapped": _in_one_word(_swap),
    "letter dropped": _in_one_word(_drop),
    "letter replaced": _in_one_word(_replace),
    "letter inserted": _in_one_word(_insert),
    "other spelling": _in_one_word(_respell),
    "other order": _order,
    "initials": _initials,
}
_HARDER: dict[str, Mangler] = {"words joined": _join, "part left out": _shorten}


def _queries(
    persons: list[Entry], manglers: dict[str, Mangler], count: int, rng: random.Random
) -> Iterator[tuple[str, str, str]]:
    """(way of mangling, query, entry id), the ways in turn."""
    made = 0
    ways = list(manglers)
    while made < count:
        person = rng.choice(persons)
        family, _, given = person.name.partition(",")
        words = list(tokens(given)), list(tokens(family))
        if len(words[0]) + len(words[1]) < 2:
            continue
        way = ways[made % len(ways)]
        mangled = manglers[way](*words, rng)
        if mangled is None:
            continue
        made += 1
        yield way, " ".join(mangled[0] + mangled[1]), person.entry_id


def _everyday(listed: set[frozenset[str]], rng: random.Random) -> str:
    while True:
        given, family = rng.choice(_EVERYDAY.strip().split("|")).split("/")
        name = f"{rng.choice(given.split())} {rng.choice(family.split())}"
        if frozenset(tokens(name)) not in listed:
            return name


def _recombined(persons: list[Entry], listed: set[frozenset[str]], rng: random.Random) -> str:
    while True:
        given = rng.choice(persons).name.partition(",")[2].strip()
        name = f"{given} {rng.choice(persons).name.partition(',')[0]}"
        if given and frozenset(tokens(name)) not in listed:
            return name


def _baseline(persons: list[Entry], scorer: Callable[..., float], prepare: Callable[[str], str]) -> Matcher:
    pairs = [
        (prepare(_natural(name)), person.entry_id)
        for person in persons
        for name in (person.name, *(alias.name for alias in person.aliases if not alias.weak))
    ]
    choices = [name for name, _ in pairs]

    def match(query: str) -> set[str]:
        hits = process.extract(prepare(query), choices, scorer=scorer, score_cutoff=0.85, limit=None)
        return {pairs[at][1] for _, _, at in hits}

    return match


def _natural(name: str) -> str:
    """`FAMILY, Given` as `Given FAMILY`."""
    family, _, given = name.partition(",")
    return f"{given} {family}".strip()


def _birth_date(rng: random.Random) -> date:
    return date(1945, 1, 1) + timedelta(days=rng.randrange(60 * 365))


def measure(entries: tuple[Entry, ...], count: int, seed: int) -> dict[str, dict[str, float]]:
    """All figures by matcher and measure; rates are between 0 and 1, times in milliseconds."""
    persons = [entry for entry in entries if entry.kind == "individual"]
    listed = {frozenset(tokens(name)) for one in persons for name in (one.name, *(alias.name for alias in one.aliases))}
    started = time.perf_counter()
    engine = WatchlistEngine(entries, list_name="ofac-sdn", list_version="benchmark")
    built = time.perf_counter() - started

    def ours(query: str, born: date | None = None) -> set[str]:
        return {
            match.entry_id for match in engine.matches(Subject(given_name="", family_name=query, date_of_birth=born))
        }

    matchers: dict[str, Matcher] = {
        "engine": ours,
        "sorted tokens, Levenshtein": _baseline(
            persons, Levenshtein.normalized_similarity, lambda name: " ".join(sorted(fold(name).split()))
        ),
        "Jaro-Winkler": _baseline(persons, JaroWinkler.normalized_similarity, fold),
    }
    rng = random.Random(seed)  # noqa: S311 - names to measure with, nothing secret
    plain = list(_queries(persons, _MANGLERS, count, rng))
    harder = list(_queries(persons, _HARDER, count // 4, rng))
    everyday = [_everyday(listed, rng) for _ in range(count)]
    recombined = [_recombined(persons, listed, rng) for _ in range(count)]
    figures = {
        name: _figures(match, plain, harder, everyday, recombined, len(persons)) for name, match in matchers.items()
    }
    born = {
        person.entry_id: next((day.earliest for day in person.birth_dates if day.exact), None) for person in persons
    }
    figures["engine"]["recall with birth date"] = _share(
        entry_id in ours(query, born[entry_id]) for _, query, entry_id in plain if born[entry_id]
    )
    figures["engine"]["  harder with birth date"] = _share(
        entry_id in ours(query, born[entry_id]) for _, query, entry_id in harder if born[entry_id]
    )
    figures["engine"]["everyday with birth date"] = _share(bool(ours(name, _birth_date(rng))) for name in everyday)
    figures["engine"]["recombined with birth date"] = _share(bool(ours(name, _birth_date(rng))) for name in recombined)
    figures["engine"]["index built in ms"] = built * 1000
    return figures


def _figures(
    match: Matcher,
    plain: list[tuple[str, str, str]],
    harder: list[tuple[str, str, str]],
    everyday: list[str],
    recombined: list[str],
    persons: int,
) -> dict[str, float]:
    found: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    strangers = 0
    times = []
    for way, query, entry_id in plain + harder:
        started = time.perf_counter()
        hits = match(query)
        times.append(time.perf_counter() - started)
        asked[way] += 1
        found[way] += entry_id in hits
        strangers += len(hits - {entry_id})
    figures = {"recall": sum(found[way] for way in _MANGLERS) / len(plain)}
    figures |= {f"  {way}": found[way] / asked[way] for way in asked}
    figures["false pairs"] = strangers / ((len(plain) + len(harder)) * (persons - 1))
    figures["everyday by name alone"] = _share(bool(match(name)) for name in everyday)
    figures["recombined by name alone"] = _share(bool(match(name)) for name in recombined)
    times.sort()
    figures["median ms"] = times[len(times) // 2] * 1000
    figures["99th percentile ms"] = times[len(times) * 99 // 100] * 1000
    return figures


def _share(outcomes: Iterable[bool]) -> float:
    counted = Counter(outcomes)
    return counted[True] / counted.total()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="of sdn.csv, alt.csv and add.csv")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    figures = measure(load_directory(options.directory), options.queries, options.seed)
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return 0
    lines = [f"{'':28}" + "".join(f"{name:>28}" for name in figures)]
    for measure_name in figures["engine"]:
        cells = (figures[name].get(measure_name) for name in figures)
        lines.append(f"{measure_name:28}" + "".join(f"{'-' if cell is None else f'{cell:.5f}':>28}" for cell in cells))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
