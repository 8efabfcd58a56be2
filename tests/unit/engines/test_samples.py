"""The sample candidates show what they are meant to show."""

from datetime import date
from pathlib import Path

import msgspec
import pytest

from shared.screening.engines.base import Subject
from shared.screening.engines.high_groups import issued_before_randomization
from shared.screening.engines.ssn_trace import SsnTrace
from shared.screening.engines.watchlist import WatchlistEngine, load_sample
from shared.screening.models import CandidateData

SAMPLES = Path(__file__).parents[3] / "infra" / "local" / "samples" / "candidates.json"
TODAY = date(2026, 3, 1)
WATCHLIST = WatchlistEngine(load_sample(), list_name="sample", list_version="1")


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tenant: str
    about: str
    candidate: CandidateData
    expect: dict[str, str]


ALL = msgspec.json.decode(SAMPLES.read_bytes(), type=list[Sample])


@pytest.mark.parametrize("sample", ALL, ids=lambda sample: sample.candidate.custom_id)
def test_what_the_engines_say(sample: Sample) -> None:
    one = sample.candidate
    subject = Subject(
        given_name=one.first_name,
        middle_name=one.middle_name or "",
        family_name=one.last_name,
        other_names=one.other_names,
        date_of_birth=one.dob,
        ssn=one.ssn,
        countries=one.nationalities,
        gender=one.gender,
    )
    trace = SsnTrace().run(subject, TODAY)
    assert ("canceled" if trace.lacks_required_information else trace.outcome) == sample.expect["ssn_trace"]
    assert WATCHLIST.run(subject, TODAY).outcome == sample.expect["watchlist"]


def test_every_outcome_is_shown() -> None:
    assert {sample.tenant for sample in ALL} == {"contoso", "fabrikam"}
    assert {sample.expect["ssn_trace"] for sample in ALL} == {"clear", "consider", "canceled"}
    assert {sample.expect["watchlist"] for sample in ALL} == {"clear", "needs_review"}


def test_no_sample_could_reach_a_real_person() -> None:
    for sample in ALL:
        one = sample.candidate
        assert (one.email or "").endswith(("@example.com", "@example.org"))
        assert " 555-01" in (one.phone or "")
        if one.ssn and sample.expect["ssn_trace"] == "clear":
            assert issued_before_randomization(int(one.ssn[:3]), int(one.ssn[4:6])) is False
    assert len({sample.candidate.ssn for sample in ALL}) == len(ALL)
