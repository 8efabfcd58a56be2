"""Who is a potential match and who is not. All people are invented; the weights stand in watchlist/scoring.py."""

from datetime import date
from random import Random

import msgspec
import pytest

from shared.screening.engines.base import EngineResult, Gender, PotentialMatch, Subject
from shared.screening.engines.watchlist import Alias, BirthDate, Entry, WatchlistEngine, WatchlistIndex, load_sample

TODAY = date(2026, 3, 1)
BORN = date(1980, 5, 4)

# A name is told from its look-alikes by the other names of its list: this one has some common ones.
CROWD = tuple(
    Entry(entry_id=f"c{number}", kind="individual", name=name)
    for number, name in enumerate(
        f"{family}, {given}"
        for family in ("GARZA", "OKORO", "PETROV", "HADDAD", "NGUYEN")
        for given in ("Mario", "Maria", "Juan", "Juana", "Omar")
    )
)


def engine_for(*entries: Entry) -> WatchlistEngine:
    return WatchlistEngine((*entries, *CROWD), list_name="test", list_version="1")


def person(name: str = "QUILLFEATHER, Barnabus Thaddeus", **fields: object) -> Entry:
    return msgspec.structs.replace(Entry(entry_id="1", kind="individual", name=name), **fields)


def screen(
    name: str,
    entry: Entry,
    born: date | None = None,
    countries: tuple[str, ...] = (),
    gender: Gender | None = None,
) -> PotentialMatch | None:
    given, _, family = name.rpartition(" ")
    subject = Subject(given_name=given, family_name=family, date_of_birth=born, countries=countries, gender=gender)
    found = engine_for(entry).matches(subject)
    return next((match for match in found if match.entry_id == entry.entry_id), None)


@pytest.mark.parametrize(
    "name",
    [
        "Barnabus Thaddeus Quillfeather",
        "Quillfeather Barnabus Thaddeus",
        "Thaddeus Quillfeather Barnabus",
        "Barnabus T. Quillfeather",
        "Barnabus Quillfeather",
        "Barnabsu Quillfeather",
        "Barnabus Quillfether",
        "Dr. Barnabus Quillfeather Jr.",
        "BÁRNABUS QUILLFEATHER",
        "Barnabus Thaddeus Quill Feather",
    ],
)
def test_the_same_name_otherwise_written(name: str) -> None:
    assert screen(name, person()) is not None


@pytest.mark.parametrize(
    "name",
    [
        "Quillfeather",
        "Barnabus Thaddeus Okoro",
        "Mario Quillfeather",
        "B. Q.",
        "",
        "...",
    ],
)
def test_another_name(name: str) -> None:
    assert screen(name, person()) is None


def test_names_known_on_the_list_are_no_slips() -> None:
    assert screen("Mario Garza", person("GARZA, Maria")) is None
    assert screen("Mraia Garza", person("GARZA, Maria")) is not None


def test_an_exact_name_scores_one() -> None:
    match = screen("Barnabus Thaddeus Quillfeather", person(programs=("P",)))
    assert match == PotentialMatch(
        list_name="test",
        entry_id="1",
        matched_name="QUILLFEATHER, Barnabus Thaddeus",
        primary_name="QUILLFEATHER, Barnabus Thaddeus",
        programs=("P",),
        score=1.0,
        name_score=1.0,
        weak_alias=False,
        agrees=(),
        disagrees=(),
    )


def day(year: int, month: int, number: int) -> BirthDate:
    return BirthDate(date(year, month, number), date(year, month, number))


@pytest.mark.parametrize(
    ("listed", "penalty"),
    [
        ((day(1980, 5, 4),), 0.0),
        ((BirthDate(date(1980, 1, 1), date(1980, 12, 31)),), 0.0),
        ((BirthDate(date(1978, 1, 1), date(1980, 12, 31)),), 0.0),
        ((BirthDate(date(1980, 5, 1), date(1980, 5, 31)),), 0.0),
        ((day(1980, 4, 5),), 0.125),  # day and month swapped
        ((day(1980, 5, 5),), 0.25),
        ((BirthDate(date(1980, 6, 1), date(1980, 6, 30)),), 0.25),
        ((BirthDate(date(1981, 1, 1), date(1981, 12, 31)),), 0.15),
        ((day(1979, 5, 5), day(1980, 4, 5)), 0.125),  # the mildest of alternatives
        ((day(1979, 5, 5), day(1980, 5, 4)), 0.0),
    ],
)
def test_date_of_birth(listed: tuple[BirthDate, ...], penalty: float) -> None:
    match = screen("Barnabus Thaddeus Quillfeather", person(birth_dates=listed), born=BORN)
    assert match is not None
    assert match.score == pytest.approx(1 - penalty)
    assert match.agrees == (() if penalty else ("date_of_birth",))
    assert match.disagrees == (("date_of_birth",) if penalty else ())


def test_an_entirely_different_date_of_birth_dismisses_even_an_exact_name() -> None:
    listed = person(birth_dates=(day(1961, 11, 23),))
    assert screen("Barnabus Thaddeus Quillfeather", listed, born=BORN) is None
    assert screen("Barnabus Thaddeus Quillfeather", listed) is not None


def test_country_and_gender() -> None:
    listed = person(countries=frozenset({"NO", "SE"}), gender="male")
    name = "Barnabus Thaddeus Quillfeather"
    agreeing = screen(name, listed, countries=("Norway", "US"), gender="male")
    assert agreeing is not None
    assert (agreeing.score, agreeing.agrees) == (1.0, ("country", "gender"))
    elsewhere = screen(name, listed, countries=("US",))
    assert elsewhere is not None
    assert (elsewhere.score, elsewhere.disagrees) == (0.8, ("country",))
    other_gender = screen(name, listed, gender="female")
    assert other_gender is not None
    assert (other_gender.score, other_gender.disagrees) == (0.8, ("gender",))
    assert screen(name, listed, countries=("US",), gender="female") is None


def test_an_unknown_country_says_nothing() -> None:
    match = screen("Barnabus Thaddeus Quillfeather", person(countries=frozenset({"NO"})), countries=("Atlantis",))
    assert match is not None
    assert (match.agrees, match.disagrees) == ((), ())


def test_the_same_day_of_birth_makes_up_for_other_evidence() -> None:
    listed = person(birth_dates=(day(1980, 5, 4),), countries=frozenset({"NO"}), gender="male")
    name = "Barnabus Thaddeus Quillfeather"
    kept = screen(name, listed, born=BORN, countries=("US",), gender="female")
    assert kept is not None
    assert kept.score == pytest.approx(0.6)
    assert (kept.agrees, kept.disagrees) == (("date_of_birth",), ("country", "gender"))


def test_the_same_day_of_birth_makes_up_for_a_part_of_the_name() -> None:
    listed = person("GARZA PETROV, Juan Omar", birth_dates=(day(1980, 5, 4),))
    assert screen("Juan Garza", listed) is None
    assert screen("Juan Garza", listed, born=date(1980, 5, 5)) is None
    assert screen("Juan Garza", listed, born=BORN) is not None
    assert screen("Maria Garza", listed, born=BORN) is None


def test_aliases() -> None:
    listed = person(aliases=(Alias("FOXGLOVE, Cornelius", weak=False), Alias("GRIZZLED BADGER", weak=True)))
    strong = screen("Cornelius Foxglove", listed)
    assert strong is not None
    assert (strong.matched_name, strong.score, strong.weak_alias) == ("FOXGLOVE, Cornelius", 1.0, False)
    assert strong.primary_name == "QUILLFEATHER, Barnabus Thaddeus"
    weak = screen("Grizzled Badger", listed)
    assert weak is not None
    assert (weak.score, weak.weak_alias) == (0.9, True)
    assert screen("Grizzled Bader", listed) is None


def test_other_names_of_the_subject() -> None:
    engine = engine_for(person())
    subject = Subject(given_name="Olive", family_name="Marchbanks", other_names=("Barnabus Quillfeather",))
    assert [match.entry_id for match in engine.matches(subject)] == ["1"]


def test_of_several_names_the_likest_counts() -> None:
    subject = Subject(
        given_name="Barnabsu", family_name="Quillfeather", other_names=("Barnabus Thaddeus Quillfeather",)
    )
    (match,) = engine_for(person()).matches(subject)
    assert match.name_score == 1.0


def test_a_middle_name_that_the_list_does_not_know() -> None:
    subject = Subject(given_name="Barnabus", middle_name="Zebulon Octavius", family_name="Quillfeather")
    assert engine_for(person("QUILLFEATHER, Barnabus")).matches(subject)


def test_entities_are_no_persons() -> None:
    entity = msgspec.structs.replace(person("JORDAN BAKER"), kind="entity")
    assert screen("Jordan Baker", entity) is None
    assert WatchlistIndex([entity]).search("Jordan Baker", least=0.85) == []


def test_words_written_as_one_on_either_side() -> None:
    assert screen("Barnabus Thaddeus Van Quill", person("VANQUILL, Barnabus Thaddeus")) is not None
    assert screen("Barnabus Thaddeus Vanquill", person("VAN QUILL, Barnabus Thaddeus")) is not None


def test_outcomes() -> None:
    engine = engine_for(person())
    hit = engine.run(Subject(given_name="Barnabus Thaddeus", family_name="Quillfeather"), TODAY)
    assert hit.outcome == "needs_review"
    assert [finding.code for finding in hit.findings] == ["watchlist_potential_match"]
    assert msgspec.json.decode(msgspec.json.encode(hit), type=EngineResult) == hit
    clear = engine.run(Subject(given_name="Olive", family_name="Marchbanks"), TODAY)
    assert clear == EngineResult(outcome="clear")


def test_even_full_agreement_is_for_a_person_to_judge() -> None:
    listed = person(birth_dates=(day(1980, 5, 4),), countries=frozenset({"NO"}), gender="male")
    subject = Subject(
        given_name="Barnabus Thaddeus",
        family_name="Quillfeather",
        date_of_birth=BORN,
        countries=("NO",),
        gender="male",
    )
    result = engine_for(listed).run(subject, TODAY)
    assert result.outcome == "needs_review"
    assert result.findings[0].match is not None
    assert result.findings[0].match.agrees == ("date_of_birth", "country", "gender")


def test_the_likest_first_and_each_entry_once() -> None:
    first = person("QUILLFEATHER, Barnabus", entry_id="2", aliases=(Alias("QUILFEATHER, Barnabus", weak=False),))
    second = person("QUILLFEATHER, Barnabas", entry_id="1")
    found = engine_for(first, second).matches(Subject(given_name="Barnabus", family_name="Quillfeather"))
    assert [match.entry_id for match in found] == ["2", "1"]


def test_the_version_names_the_list() -> None:
    assert engine_for().version == "1/test/1"


def test_an_empty_list_finds_nothing() -> None:
    engine = WatchlistEngine((), list_name="none", list_version="0")
    assert engine.run(Subject(given_name="A", family_name="B"), TODAY).outcome == "clear"


def test_quality_floor_on_the_sample_list() -> None:
    """Every one-letter slip in a word of five letters or more is found, and no reshuffled name is.

    The figures on a real list come from tests/benchmarks/watchlist_quality.py.
    """
    persons = [entry for entry in load_sample() if entry.kind == "individual" and "," in entry.name]
    engine = WatchlistEngine(load_sample(), list_name="sample", list_version="1")
    rng = Random(7)  # noqa: S311 - names to test with, nothing secret
    missed = []
    for entry in persons:
        family, _, given = entry.name.partition(", ")
        for word in (word for word in family.replace("-", " ").split() if len(word) >= 5):
            at = rng.randrange(1, len(word) - 1)
            for slip in (word[:at] + word[at + 1 :], word[:at] + word[at + 1] + word[at] + word[at + 2 :]):
                subject = Subject(given_name=given, family_name=family.replace(word, slip))
                if entry.entry_id not in {match.entry_id for match in engine.matches(subject)}:
                    missed.append((entry.name, slip))
    assert missed == []

    stopped = [
        (one.name, other.name)
        for one in persons
        for other in persons
        if one.name.partition(", ")[0] != other.name.partition(", ")[0]
        and engine.matches(
            Subject(given_name=one.name.partition(", ")[2], family_name=other.name.partition(", ")[0]),
        )
    ]
    assert len(stopped) <= 0.005 * len(persons) ** 2, stopped
