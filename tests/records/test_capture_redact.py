"""What is taken out of a text before it is kept."""

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.captures.patterns import BadPattern, pattern
from records.captures.redaction import json_redacted, redacted

SECRETS = [
    "sk-proj-abcdefghijklmnopqrstuvwx",
    "sk-ant-api03-abcdefghijklmnop_qrst-uv",
    "sk_live_4242abcdefabcdefabcdef12",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
    "github_pat_11ABCDEFG0123456789_abcdefghij",
    "glpat-0123456789abcdefghij",
    "AKIAIOSFODNN7EXAMPLE",
    "xoxb-123456789012-abcdefghijkl",
    "hf_abcdefghijklmnopqrstuvwxyz012345",
    "gsk_abcdefghijklmnopqrstuvwxyz0123",
    "SG.abcdefghijklmnopqrst.uvwxyzabcdefghijklmnop",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "my key is {}.", '{{"k": "{}"}}', "curl -H 'x: {}' http://h/"])
def test_keys_and_tokens_go_wherever_they_stand(secret: str, around: str) -> None:
    left = redacted(around.format(secret))
    assert secret not in left and secret[8:] not in left
    assert "[secret]" in left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abcdef12345", "Authorization: Bearer [secret]"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic [secret]"),
        ('{"password": "hunter22", "user": "x"}', '{"password": "[secret]", "user": "x"}'),
        ("my password is hunter22!", "my password is [secret]"),
        ("OPENAI_API_KEY=abcdefgh", "OPENAI_API_KEY=[secret]"),
        ("client_secret: 'q1w2e3r4'", "client_secret: '[secret]'"),
        ("postgresql://anna:geheim@db/x", "postgresql://[secret]@db/x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- ok", "[secret] ok"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE, cut off", "[secret]"),
        ("write to anna.b+c@mail.example.co.uk, please", "write to [email], please"),
        ("ä.ö@example.de", "[email]"),
        ("card 4242 4242 4242 4242 exp 12/29", "card [card] exp 12/29"),
        ("x-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3 ok", "x-[secret] ok"),
        ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9 cut off", "[secret] cut off"),
        ("eyJhIjoxfQ12.eyJzdWIiOiIx.x and eyJhIjox", "[secret] and eyJhIjox"),
        ("5500-0000-0000-0004", "[card]"),
        ("378282246310005", "[card]"),
        ("call +49 (30) 901820-12 today", "call [phone] today"),
        ("(212) 555-0123", "[phone]"),
        ("555-0123", "[phone]"),
        ("0171/2345678", "[phone]"),
        ("0041 44 668 18 00.", "[phone]."),
        ("2125550123", "[phone]"),
    ],
)
def test_credentials_and_people_go_and_the_words_around_them_stay(text: str, left: str) -> None:
    assert redacted(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "It was 2026-11-24 at 16:00, version 1.2.3, for $1,234.56 and 99.9 %.",
        "Order 1234567, room 12-34, 10.0.0.1.5 and 3.14159265358979",
        "skip the bearer of bad news; a key is short, a token of thanks",
        "def f(x): return x @ y",
        "",
    ],
)
def test_what_only_looks_a_little_like_it_stays(text: str) -> None:
    assert redacted(text) == text


def test_own_patterns_come_first() -> None:
    text = "customer K-12345 wrote from anna@shop.example"
    assert redacted(text, [r"K-\d+", r"\w+@shop\.example"]) == "customer [redacted] wrote from [redacted]"


@pytest.mark.parametrize(
    ("text", "words"), [("(", "not a regular expression"), ("a*", "matches the empty string")]
)
def test_a_pattern_that_cannot_be_used_says_why(text: str, words: str) -> None:
    with pytest.raises(BadPattern, match=words):
        pattern(text)


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 200_000, "1" * 200_000, "1 " * 100_000, "@a." * 60_000, "eyJ" * 60_000, "AB12 " * 40_000),
        *("AB12" + "1 " * 100_000, "1.1." * 50_000, "a:" * 100_000, ":" * 200_000),
    ],
)
def test_any_long_text_is_done_in_bounded_time(text: str) -> None:
    redacted(text)  # the suite's time limit decides: a pattern that goes wild takes hours


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"b": [1, 2],  "a": "x"}', '{"b": [1, 2],  "a": "x"}'),
        ('{"phone": 4915112345678}', '{"phone":0}'),
        ('["call\\n0151 23456789"]', '["call\\n[phone]"]'),
        ('{"api_key": "abcdef12", "key": "a b"}', '{"api_key":"[secret]","key":"a b"}'),
        ('{"pass_token": 12345678}', '{"pass_token":0}'),
        ('{"inner": "{\\"to\\": \\"anna@example.com\\"}"}', '{"inner":"{\\"to\\":\\"[email]\\"}"}'),
        ("{not JSON, anna@example.com}", "{not JSON, [email]}"),
    ],
)
def test_json_stays_json(text: str, left: str) -> None:
    assert json_redacted(text, redacted) == left


def test_json_in_which_a_pattern_spans_several_members_is_given_up() -> None:
    clean = partial(redacted, patterns=[r'"first":"Anna","last":"Berg"'])
    assert json_redacted('{"first":"Anna","last":"Berg"}', clean) == '"[redacted]"'


SECRETIVE = st.sampled_from(
    ["anna@example.com", "0151 23456789", "sk-proj-abcdefghijklmnopqrst", "x", '"', ": "]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | SECRETIVE
    | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["to", "key", "password", "4111 1111"]), inner)
    ),
    max_leaves=12,
)


@given(st.lists(VALUES) | st.dictionaries(SECRETIVE, VALUES))
def test_any_json_is_redacted_whole_and_stays_json(value: object) -> None:
    found = json_redacted(json.dumps(value), redacted)
    json.loads(found)
    assert redacted(found) == found
