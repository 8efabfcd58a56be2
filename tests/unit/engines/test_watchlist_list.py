"""Reading a list: OFAC's Data Specification for the CSV files, and forms of remarks as the published list has them."""

from datetime import date
from pathlib import Path

import pytest

from shared.screening.engines.watchlist import (
    Alias,
    BirthDate,
    Entry,
    MalformedListError,
    load_directory,
    load_sample,
    parse,
)
from shared.screening.engines.watchlist.countries import country_codes
from shared.screening.engines.watchlist.names import fold, sound, tokens
from shared.screening.engines.watchlist.remarks import read_remarks

SDN = '7,"DOE, Jane","individual","PROG-A] [PROG-B",-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,"DOB 1980; Gender Female."\r\n'
ALT = '7,70,"aka","ROE, Jane",-0- \r\n'
ADD = '7,71,-0- ,"Oslo","Norway",-0- \r\n'


def test_one_entry() -> None:
    assert parse(sdn=SDN, alt=ALT, add=ADD) == (
        Entry(
            entry_id="7",
            kind="individual",
            name="DOE, Jane",
            aliases=(Alias("ROE, Jane", weak=False),),
            programs=("PROG-A", "PROG-B"),
            birth_dates=(BirthDate(date(1980, 1, 1), date(1980, 12, 31)),),
            countries=frozenset({"NO"}),
            gender="female",
        ),
    )


def test_nulls_and_end_of_file_mark() -> None:
    text = "8,ACME,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- \r\n\x1a"
    (entry,) = parse(sdn=text, alt="\x1a", add="")
    assert entry == Entry(entry_id="8", kind="entity", name="ACME")


@pytest.mark.parametrize(
    ("sdn", "alt", "add"),
    [
        ("", "", ""),
        (SDN + SDN, ALT, ADD),
        (SDN.replace(',"individual"', ""), ALT, ADD),
        (SDN.replace("individual", "robot"), ALT, ADD),
        (SDN, ALT.replace("7,70", "9,70"), ADD),
        (SDN, ALT, ADD.replace("7,71", "9,71")),
        (SDN, ALT + "7,72\r\n", ADD),
        (SDN + '8,"OPEN, Quote', ALT, ADD),
        ("<html>503 Service Unavailable</html>", ALT, ADD),
    ],
)
def test_what_is_not_the_format_is_refused_whole(sdn: str, alt: str, add: str) -> None:
    with pytest.raises(MalformedListError):
        parse(sdn=sdn, alt=alt, add=add)


@pytest.mark.parametrize(
    ("text", "earliest", "latest"),
    [
        ("DOB 29 Feb 1972", date(1972, 2, 29), date(1972, 2, 29)),
        ("alt. DOB 01 Jan 1964", date(1964, 1, 1), date(1964, 1, 1)),
        ("DOB Feb 1972", date(1972, 2, 1), date(1972, 2, 29)),
        ("DOB Feb 1973", date(1973, 2, 1), date(1973, 2, 28)),
        ("DOB 1953", date(1953, 1, 1), date(1953, 12, 31)),
        ("DOB circa 1960", date(1958, 1, 1), date(1962, 12, 31)),
        ("DOB circa 07 Jul 1966", date(1964, 1, 1), date(1968, 12, 31)),
        ("DOB circa Mar 1968", date(1966, 1, 1), date(1970, 12, 31)),
        ("DOB 1958 to 1960", date(1958, 1, 1), date(1960, 12, 31)),
        ("DOB circa 1979-1982", date(1977, 1, 1), date(1984, 12, 31)),
        ("DOB 05 Mar 1970 to 06 Apr 1973", date(1970, 3, 5), date(1973, 4, 6)),
    ],
)
def test_dates_of_birth(text: str, earliest: date, latest: date) -> None:
    assert read_remarks(f"{text}; POB Oslo, Norway.").birth_dates == (BirthDate(earliest, latest),)


@pytest.mark.parametrize("text", ["DOB 30 Feb 1972", "DOB 1960 to 1958", "DOB unknown", "DOB 12 Foo 1970", "DOB 19"])
def test_dates_that_are_none(text: str) -> None:
    assert read_remarks(text).birth_dates == ()


def test_remarks() -> None:
    remarks = read_remarks(
        "DOB 1965; alt. DOB 1966; POB Ntoke Village, Kayunga District, Uganda; nationality Korea, North; "
        "citizen Kenya; alt. citizen undetermined; Gender Male; Passport A1 (Chad); Minister of Example; "
        "a.k.a. 'O'HARA THE TALL'; f.k.a. 'SHORTY'; Linked To: EXAMPLE L"
    )
    assert len(remarks.birth_dates) == 2
    assert remarks.countries == {"UG", "KP", "KE"}
    assert remarks.gender == "male"
    assert remarks.weak_aliases == ("O'HARA THE TALL", "SHORTY")


def test_contradicting_genders_are_unknown() -> None:
    assert read_remarks("Gender Male; Gender Female.").gender is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Korea, North", "KP"),
        ("Congo, Democratic Republic of the", "CD"),
        ("Congo, Republic of the", "CG"),
        ("Cote d Ivoire", "CI"),
        ("Côte d\u2019Ivoire", "CI"),
        ("us", "US"),
        ("USA", "US"),
        ("The Gambia", "GM"),
        ("Burma", "MM"),
        ("Bosnia-Herzegovina", "BA"),
        ("Macedonia, The Former Yugoslav Republic of", "MK"),
        ("Region: Gaza", "PS"),
    ],
)
def test_countries(text: str, code: str) -> None:
    assert country_codes(text) == {code}


@pytest.mark.parametrize("text", ["", "undetermined", "-0-", "Atlantis"])
def test_no_country(text: str) -> None:
    assert country_codes(text) == frozenset()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GARCÍA-Márquez, José Ñ.", ("garcia", "marquez", "jose", "n")),
        ("O\u2019Brien, Dr. Seán Jr.", ("obrien", "sean")),
        ("Сергей Иванов", ("sergey", "ivanov")),
        ("王小明", ("wang", "xiao", "ming")),
        ("김민준", ("gim", "min", "jun")),
        ("Łukasz Żółć", ("lukasz", "zolc")),
        ("DeAndre McDonald", ("deandre", "mcdonald")),
        ("Haji", ("haji",)),
        ("", ()),
        ("—", ()),
    ],
)
def test_tokens(name: str, expected: tuple[str, ...]) -> None:
    assert tokens(name) == expected


@pytest.mark.parametrize(
    "spellings",
    [
        "sergey sergei",
        "qasim kassem ghassem",
        "husayn hussein hussain",
        "tariq tarek",
        "aleksandr alexandr",
        "usama osama",
    ],
)
def test_spellings_of_one_sound(spellings: str) -> None:
    assert len({sound(word) for word in spellings.split()}) == 1


@pytest.mark.parametrize("names", ["maria mario", "juan juana", "ivanov ivanova", "hasan husayn", "nasser nazir"])
def test_other_names_sound_otherwise(names: str) -> None:
    assert len({sound(word) for word in names.split()}) == 2


def test_folding_is_stable() -> None:
    assert fold(fold("Đặng, Văn-An")) == fold("Đặng, Văn-An") == "dang van an"


def test_the_sample_list() -> None:
    entries = load_sample()
    assert len(entries) == 40
    assert {entry.kind for entry in entries} == {"individual", "entity", "vessel", "aircraft"}
    assert all(program.startswith("SAMPLE-") for entry in entries for program in entry.programs)
    assert all(entry.birth_dates for entry in entries if entry.kind == "individual")


def test_a_directory_without_a_list(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_directory(tmp_path)


def test_a_spoiled_byte_keeps_no_list_out(tmp_path: Path) -> None:
    (tmp_path / "sdn.csv").write_bytes(SDN.encode().replace(b"Jane", b"Jos\xe9"))
    (tmp_path / "alt.csv").write_text(ALT)
    (tmp_path / "add.csv").write_text(ADD)
    assert [entry.entry_id for entry in load_directory(tmp_path)] == ["7"]
