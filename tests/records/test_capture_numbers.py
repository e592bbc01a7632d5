"""Numbers that name a person or a machine go; those that only look alike stay."""

from datetime import date, datetime, time
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.captures.redaction import is_iban, passes_luhn, without_numbers


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN [iban] please"),
        ("DE89370400440532013000.", "[iban]."),
        ("from AT61 1904 3002 3457 3201 thank you", "from [iban] thank you"),
        ("GB29-NWBK-6016-1331-9268-19", "[iban]"),
        ("de89 37040044 0532013000", "[iban]"),
        ("DE 89\u00a03704 0044 0532 0130 00", "[iban]"),
        ("no93 8601 1117 947, MT84 MALT 0110 0001 2345 MTLC AST0 01S", "[iban], [iban]"),
        ("row AB12 xyz DE89 3704 0044 0532 0130 00", "row AB12 xyz [iban]"),
        ("from 203.0.113.7.", "from [ip]."),
        ("http://10.0.0.1:8080/x?from=192.168.001.020", "http://[ip]:8080/x?from=[ip]"),
        ("...127.0.0.1", "...[ip]"),
        ("at 2001:db8::1: ok", "at [ip]: ok"),
        ("[2001:DB8::2]:443, fe80::1%eth0", "[[ip]]:443, [ip]"),
        ("addr:2001:0db8:85a3:0000:0000:8a2e:0370:7334", "addr:[ip]"),
        ("::ffff:192.0.2.1 1:2:3:4:5:6:7:8", "[ip] [ip]"),
        ("on 2026-11-24 0171 2345678 called", "on 2026-11-24 [phone] called"),
        ("1.212.555.0123", "[phone]"),
    ],
)
def test_numbers_of_people_and_machines_go_and_the_words_around_them_stay(text: str, left: str) -> None:
    assert without_numbers(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "DE88 3704",
        "a[::2], a[10::2], std::vector, x :: Int, db::add, MAC 00:1A:2B:3C:4D:5E, 12:30:45",
        "999.1.1.1, 10.0.0.1.5, v1.2.3.4, Chrome/120.0.6099.129",
        "01.11.2026, 1. 11. 2026, 24/12/2026, 2026/1/2",
    ],
)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert without_numbers(text) == text


def test_a_long_number_that_is_no_card_is_no_card() -> None:
    assert "[card]" not in without_numbers("4242 4242 4242 4243")


def test_an_account_number_with_another_check_digit_is_no_account_number() -> None:
    assert "[iban]" not in without_numbers("DE88 3704 0044 0532 0130 00")


@given(st.lists(st.integers(0, 9), min_size=12, max_size=18))
def test_every_card_number_passes_and_none_with_another_check_digit(digits: list[int]) -> None:
    passing = [last for last in range(10) if passes_luhn([*digits, last])]
    assert len(passing) == 1
    assert without_numbers("".join(map(str, [*digits, passing[0]]))) == "[card]"


GROUPED_BY = st.sampled_from(["", " ", "-", "\u00a0"])


@given(
    st.from_regex(r"\A[A-Z]{2}\Z"), st.from_regex(r"\A[A-Z0-9]{0,8}[0-9]{12,22}\Z"), GROUPED_BY, st.booleans()
)
def test_every_account_number_goes_however_it_is_grouped(
    country: str, account: str, between: str, lower: bool
) -> None:
    number = next(each for check in range(2, 99) if is_iban(each := f"{country}{check:02}{account}"))
    groups = between.join(number[start : start + 4] for start in range(0, len(number), 4))
    text = groups.lower() if lower else groups
    left = without_numbers(f"My account: {text}, thanks")
    assert left in ("My account: [iban], thanks", "My account: [iban]")


@given(st.ip_addresses())
def test_every_address_goes(address: IPv4Address | IPv6Address) -> None:
    if isinstance(address, IPv6Address) and (":" not in str(address).strip(":") or address.packed[0] == 0):
        return  # `::1` names no machine, and short ones may be program text
    assert without_numbers(f"from {address}, at noon") == "from [ip], at noon"


@given(st.dates(date(1900, 1, 1), date(2099, 12, 31)), st.times())
def test_every_date_and_time_stays(day: date, at: time) -> None:
    forms = ["%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y-%m-%dT%H:%M:%S.%fZ", "%d %B %Y"]
    moment = datetime.combine(day, at)
    text = ", ".join(moment.strftime(form) for form in [*forms, "%H:%M:%S"])
    assert without_numbers(text) == text


@given(st.integers(0, 99_999_999), st.integers(0, 99))
def test_every_price_below_a_hundred_millions_stays(whole: int, cents: int) -> None:
    english = f"{whole:,}.{cents:02}"
    german = english.translate(str.maketrans(",.", ".,"))
    text = f"$ {english}, {german} EUR, {whole // 100}.{cents:02}, ${whole / 1e9:.10f} a token"
    assert without_numbers(text) == text


@given(st.lists(st.integers(0, 99), min_size=2, max_size=3), st.sampled_from(["", "v", "version "]))
def test_every_version_number_stays(parts: list[int], before: str) -> None:
    text = before + ".".join(map(str, parts))
    assert without_numbers(f"Use {text}-rc1, or {text}.") == f"Use {text}-rc1, or {text}."


@given(st.uuids())
def test_every_uuid_stays(name: UUID) -> None:
    text = f"{name} {str(name).upper()} urn:uuid:{name}, {name}"
    assert without_numbers(text) == text
