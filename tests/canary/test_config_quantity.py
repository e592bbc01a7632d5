import pytest

from canary.config.quantity import HostPort, parse_address, parse_duration, parse_scale, parse_share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5),
        ("600s", 600),
        ("10m", 600),
        ("1h", 3600),
        ("3d", 259200),
        ("1w", 604800),
        ("1.5h", 5400),
    ],
)
def test_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


def test_a_duration_without_unit_is_refused_with_the_likely_one() -> None:
    with pytest.raises(ValueError, match='a duration needs a unit: write "600s" for seconds'):
        parse_duration("600")


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 parsecs", "1h30", "infs", "5S"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("0.5 %", 0.005), ("100%", 1), ("0%", 0), ("1", 1)]
)
def test_shares_are_read_as_parts_of_one(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


def test_a_number_above_one_is_taken_for_a_forgotten_percent_sign() -> None:
    with pytest.raises(ValueError, match=r"5 is more than 100%; did you mean 5%\?"):
        parse_share("5")


@pytest.mark.parametrize("text", ["101%", "-5%", "-0.1"])
def test_impossible_shares_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"{text} is not a share; a share lies between 0% and 100%"):
        parse_share(text)


@pytest.mark.parametrize("text", ["", "%", "five", "nan", "inf%", "5%%", "1e-2"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a share; write, for example, 5% or 0\.05"):
        parse_share(text)


@pytest.mark.parametrize("value", ["1-7", "1 .. 7", "1 to 7", ["1", "7"]])
def test_scales_are_read_from_either_form(value: object) -> None:
    assert parse_scale(value) == (1, 7)


def test_a_scale_may_start_below_zero() -> None:
    assert parse_scale("-1-1") == (-1, 1)


def test_a_scale_that_falls_is_refused() -> None:
    with pytest.raises(ValueError, match="first end must be below its second"):
        parse_scale("5-1")


@pytest.mark.parametrize("value", ["7", "a-b", ["1"], ["1", "2", "3"], None])
def test_what_is_no_scale_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="cannot read this scale"):
        parse_scale(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", HostPort(host="127.0.0.1", port=8080)),
        ("localhost:0", HostPort(host="localhost", port=0)),
        ("[::1]:9090", HostPort(host="::1", port=9090)),
    ],
)
def test_addresses_are_read_and_written_alike(text: str, address: HostPort) -> None:
    assert parse_address(text) == address
    assert str(address) == text


def test_a_port_alone_is_named_with_the_address_of_this_machine() -> None:
    with pytest.raises(ValueError, match=r'"8080" is not an address; write 127\.0\.0\.1:8080$'):
        parse_address("8080")


@pytest.mark.parametrize("text", [":8080", "host:", "host:65536", "::1:8080", "http://host:8080"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address; write HOST:PORT"):
        parse_address(text)
