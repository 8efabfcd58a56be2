"""What holds for every subject."""

from datetime import date
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.screening.engines.base import EngineResult, Subject, mask_ssn
from shared.screening.engines.ssn_trace import SsnTrace
from shared.screening.engines.watchlist import WatchlistEngine, load_sample
from shared.screening.engines.watchlist.names import fold
from shared.screening.engines.watchlist.remarks import read_remarks

TODAY = date(2026, 3, 1)
SAMPLE = load_sample()
ENGINE = WatchlistEngine(SAMPLE, list_name="sample", list_version="1")
LISTED = [entry.name.replace(",", "") for entry in SAMPLE if entry.kind == "individual"]

texts = st.text(max_size=40)
dates = st.none() | st.dates(date(1900, 1, 1), date(2030, 12, 31))
digits = st.text("0123456789", min_size=9, max_size=9)
ssns = digits | digits.map(lambda one: f"{one[:3]}-{one[3:5]}-{one[5:]}")
subjects = st.builds(
    Subject,
    given_name=texts,
    middle_name=texts,
    family_name=texts | st.sampled_from(LISTED),
    other_names=st.lists(texts, max_size=2).map(tuple),
    date_of_birth=dates,
    ssn=st.none() | texts | ssns,
    countries=st.lists(texts | st.sampled_from(["US", "Russia"]), max_size=2).map(tuple),
    gender=st.sampled_from([None, "male", "female"]),
)


@given(subjects)
@settings(max_examples=150, deadline=None)
def test_engines_answer_every_subject(subject: Subject) -> None:
    hits = ENGINE.run(subject, TODAY)
    assert hits.outcome == ("needs_review" if hits.findings else "clear")
    assert all(finding.match is not None and 0 < finding.match.score <= 1 for finding in hits.findings)
    assert ENGINE.run(subject, TODAY) == hits
    trace = SsnTrace().run(subject, TODAY)
    assert trace.findings
    assert trace.lacks_required_information is (not (subject.ssn or "").strip())


@given(st.sampled_from(LISTED), st.data())
@settings(max_examples=60, deadline=None)
def test_the_order_of_words_does_not_matter(name: str, data: st.DataObject) -> None:
    words = fold(name).split()
    shuffled = data.draw(st.sampled_from(list(permutations(words))[:50]))

    def scores(text: str) -> list[tuple[str, float]]:
        return [(match.entry_id, match.score) for match in ENGINE.matches(Subject(given_name="", family_name=text))]

    assert scores(" ".join(shuffled))[0] == scores(" ".join(words))[0]


@given(ssns, dates)
@settings(max_examples=300, deadline=None)
def test_nothing_shows_a_social_security_number(ssn: str, born: date | None) -> None:
    subject = Subject(given_name="", family_name="", ssn=ssn, date_of_birth=born)
    result: EngineResult = SsnTrace().run(subject, TODAY)
    bare = ssn.replace("-", "")
    for shown in (repr(subject), repr(result), mask_ssn(ssn)):
        assert ssn not in shown
        assert bare not in shown
        assert f"{bare[:3]}-{bare[3:5]}" not in shown
    # The texts are a fixed vocabulary: two numbers with the same findings have the very same result.
    assert all(finding.match is None for finding in result.findings)


@given(texts)
@settings(max_examples=200, deadline=None)
def test_folded_names_are_plain(text: str) -> None:
    folded = fold(text)
    assert folded.isascii()
    assert folded == folded.lower()
    assert fold(folded) == folded


@given(st.lists(texts | st.sampled_from(["DOB 31 Feb 1999", "DOB 0000", "POB", "nationality", "a.k.a. ''"])))
@settings(max_examples=150, deadline=None)
def test_remarks_of_any_kind_are_read(parts: list[str]) -> None:
    read_remarks("; ".join(parts))
