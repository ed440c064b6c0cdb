"""The operators' data set: the names that it has, those that it leaves out, and that it is consistent."""

import csv
import re
from collections import defaultdict
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.carriers import codes, name, read

LINES = files("schemas").joinpath("carriers.csv").read_text("utf-8").splitlines()
ROWS = list(csv.DictReader(line for line in LINES if not line.startswith("#")))
OPERATORS = sorted({row["operator"] for row in ROWS})
LISTS = {
    "itu": "2024-07-01",
    "wiki": "2024-09-09",
    "aosp": "2025-03-14",
    "gnome": "2026-08-04",
    "mccmnc": "2022-09-20",
    "handset": "",
}

COLLIDING = """\
# Two and three digits
mcc,mnc,operator,country
405,12,Airtel,IN
405,012,Reliance,IN
405,15,Reliance,IN
708,02,Tigo,HN
708,002,Tigo,HN
234,00,BT,GB
234,76,BT,GB
235,00,Vectone,GB
310,260,T-Mobile US,US
440,10,Straße,JP
""".splitlines()


@pytest.mark.parametrize(
    ("mcc", "mnc", "operator"),
    [
        (310, 4, "Verizon"),
        (310, 12, "Verizon"),
        (311, 480, "Verizon"),
        (310, 410, "AT&T"),
        (310, 280, "AT&T"),
        (313, 100, "FirstNet"),
        (310, 260, "T-Mobile US"),
        (310, 120, "T-Mobile US"),
        (312, 530, "T-Mobile US"),
        (311, 580, "UScellular"),
        (311, 230, "C Spire"),
        (313, 340, "Dish Wireless"),
        (311, 370, "GCI"),
        (314, 20, "Spectrum Mobile"),
        (316, 700, "Mile High Networks"),
        (330, 110, "Claro Puerto Rico"),
        (302, 220, "Telus"),
        (302, 610, "Bell"),
        (302, 720, "Rogers"),
        (302, 370, "Fido"),
        (302, 490, "Freedom Mobile"),
        (302, 500, "Videotron"),
        (302, 780, "SaskTel"),
        (334, 20, "Telcel"),
        (334, 30, "Movistar"),
        (334, 50, "AT&T Mexico"),
        (334, 90, "AT&T Mexico"),
        (334, 140, "Altán Redes"),
        (234, 10, "O2"),
        (234, 15, "Vodafone"),
        (234, 20, "Three"),
        (234, 30, "EE"),
        (234, 33, "EE"),
        (234, 50, "JT"),
        (234, 55, "Sure"),
        (234, 58, "Manx Telecom"),
        (234, 76, "BT"),
        (235, 94, "Three"),
        (262, 1, "Telekom"),
        (208, 10, "SFR"),
        (214, 7, "Movistar"),
        (222, 88, "WindTre"),
        (204, 8, "KPN"),
        (272, 3, "eir"),
        (505, 1, "Telstra"),
        (530, 5, "Spark"),
        (404, 10, "Airtel"),
        (405, 857, "Jio"),
        (724, 6, "Vivo"),
        (440, 10, "NTT docomo"),
    ],
)
def test_operators_have_the_name_that_people_know(mcc: int, mnc: int, operator: str) -> None:
    assert name(mcc, mnc) == operator


@pytest.mark.parametrize(
    ("mcc", "mnc"),
    [
        (None, None),
        (None, 260),
        (310, None),
        (0, 0),
        (0, 260),
        (310, 0),
        (234, 0),  # BT's 234-00; 0 is "unknown" on the wire
        (460, 0),
        (1, 1),  # test network
        (310, 14),  # test code
        (302, 880),  # shared by Bell, Telus and SaskTel
        (310, 999),
        (-310, -260),
        (310260, 310260),
    ],
)
def test_what_is_unknown_stays_empty(mcc: int | None, mnc: int | None) -> None:
    assert name(mcc, mnc) == ""


@pytest.mark.parametrize("operator", ["Telcel", "telcel", "TELCEL", "  Telcel\t\n"])
def test_an_operator_with_one_code_is_found_in_any_case(operator: str) -> None:
    assert codes(operator) == (334, 20)


@pytest.mark.parametrize(
    "operator",
    # More codes than one, of one operator or of several by the same name; or no operator at all.
    ["Verizon", "T-Mobile US", "AT&T", "BT", "Rogers", "Vodafone", "T-Mobile", "Orange", "Cellcom", "Claro", "MTS"]
    + ["", " ", "Telcel 2", "Tel cel", "unknown", "0", "\0"],
)
def test_a_name_that_could_be_several_codes_is_none(operator: str) -> None:
    assert codes(operator) is None


def test_a_code_that_is_given_for_a_name_has_that_name() -> None:
    held = defaultdict(set)
    for row in ROWS:
        held[row["operator"].casefold()].add((int(row["mcc"]), int(row["mnc"])))
    only = {operator: min(found) for operator in OPERATORS if len(found := held[operator.casefold()]) == 1}
    assert len(only) > 200
    for operator in OPERATORS:
        code = only.get(operator)
        assert codes(operator) == (code if code and all(code) else None), operator
        assert code is None or not all(code) or name(*code) == operator


@given(st.text() | st.sampled_from(OPERATORS).map(str.swapcase) | st.sampled_from(OPERATORS).map("\n{} ".format))
def test_so_it_does_however_the_name_is_written(operator: str) -> None:
    code = codes(operator)
    assert code is None or name(*code).casefold() == operator.strip().casefold()


@given(st.none() | st.integers(), st.none() | st.integers())
def test_any_pair_of_integers_may_be_asked_for(mcc: int | None, mnc: int | None) -> None:
    assert name(mcc, mnc) in {"", *OPERATORS}


def test_codes_that_are_one_integer_but_two_operators_are_unnamed() -> None:
    carriers = read(COLLIDING)
    assert (405, 12) not in carriers.names
    assert carriers.names[405, 15] == "Reliance"
    # Reliance holds 12 too: that only one of its codes can be named does not make it the one.
    assert carriers.codes.keys() == {"tigo", "t-mobile us", "strasse"}


def test_codes_that_are_one_integer_and_one_operator_are_one_code() -> None:
    carriers = read(COLLIDING)
    assert carriers.names[708, 2] == "Tigo"
    assert carriers.codes["tigo"] == (708, 2)


def test_an_mnc_of_zero_is_never_named_nor_given() -> None:
    carriers = read(COLLIDING)
    assert all(mcc and mnc for mcc, mnc in carriers.names)
    assert carriers.names[234, 76] == "BT"
    assert "bt" not in carriers.codes
    assert "vectone" not in carriers.codes


def test_the_data_set_is_large_and_has_the_countries_that_must_be_there() -> None:
    assert len(ROWS) > 900
    operators = defaultdict(set)
    for row in ROWS:
        operators[row["country"]].add(row["operator"])
    assert len(operators["US"]) > 150
    assert len(operators["CA"]) > 30
    assert len(operators["MX"]) > 15
    assert len(operators["GB"]) > 35
    assert operators.keys() >= {
        "DE",
        "FR",
        "ES",
        "IT",
        "NL",
        "IE",
        "AU",
        "NZ",
        "IN",
        "BR",
        "JP",
        "PR",
        "JE",
        "GG",
        "IM",
    }


def is_well_formed(row: dict[str, str]) -> bool:
    patterns = {"mcc": "[2-7][0-9]{2}", "mnc": "[0-9]{2,3}", "country": "[A-Z]{2}", "operator": r"\S+( \S+)*"}
    return (
        list(row) == ["mcc", "mnc", "operator", "country", "source", "date"]
        and all(re.fullmatch(pattern, row[column]) for column, pattern in patterns.items())
        and row["operator"].isprintable()
    )


def test_every_row_is_well_formed() -> None:
    assert [row for row in ROWS if not is_well_formed(row)] == []


def test_every_row_rests_on_two_lists_and_has_the_day_of_the_newest() -> None:
    for row in ROWS:
        sources = row["source"].split("+")
        assert len(sources) == len(set(sources)) >= 2, row
        assert row["date"] == max(LISTS[source] for source in sources), row


def test_the_lists_are_explained_above_the_rows() -> None:
    explained = {line.split()[1]: line for line in LINES if re.match(r"# \w+ {2,}\S", line)}
    assert explained.keys() == LISTS.keys()


def test_no_code_comes_twice() -> None:
    written = [(row["mcc"], row["mnc"]) for row in ROWS]
    assert len(written) == len(set(written))
    assert ROWS == sorted(ROWS, key=lambda row: (row["mcc"], int(row["mnc"]), row["mnc"]))


def test_an_operator_has_one_spelling_in_its_country() -> None:
    spellings = defaultdict(set)
    for row in ROWS:
        spellings[row["country"], re.sub(r"\W", "", row["operator"]).casefold()].add(row["operator"])
    assert [found for found in spellings.values() if len(found) > 1] == []
