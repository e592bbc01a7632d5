"""Sessions: who is let in by a cookie, as whom, and for how long."""

import re
from base64 import urlsafe_b64encode

import pytest

from console.access.session import LASTS_S, Ground, Person, Sessions

OPERATOR, VIEWER = Person(role="operator"), Person(role="viewer")
ANN = Person(role="operator", name="Ann Ünal.b")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def sessions(clock: Clock | None = None, **secrets: str | None) -> Sessions:
    """Sessions where the admin token is `token`, unless given; the other grounds have no secret."""
    known: dict[str, str | None] = {"admin": "token", "viewer": None, "oidc": None, **secrets}
    return Sessions(lambda ground: known[ground], clock or Clock())


def test_a_session_lasts_twelve_hours() -> None:
    clock = Clock()
    ours = sessions(clock)
    cookie = ours.begin("admin", OPERATOR)
    assert ours.person(cookie) == OPERATOR
    clock.now += LASTS_S - 1
    assert ours.person(cookie) == OPERATOR
    clock.now += 2
    assert ours.person(cookie) is None


def test_another_admin_with_the_same_token_knows_the_session_and_one_with_another_does_not() -> None:
    cookie = sessions().begin("admin", OPERATOR)
    assert sessions().person(cookie) == OPERATOR
    assert sessions(admin="another").person(cookie) is None
    assert sessions(admin=None).person(cookie) is None


@pytest.mark.parametrize(("ground", "person"), [("viewer", VIEWER), ("oidc", ANN)])
def test_a_session_ends_with_the_secret_that_it_rests_on(ground: Ground, person: Person) -> None:
    cookie = sessions(**{ground: "known"}).begin(ground, person)
    assert sessions(**{ground: "known"}).person(cookie) == person
    assert sessions(**{ground: "changed"}).person(cookie) is None
    assert sessions(**{ground: None}).person(cookie) is None
    assert sessions(**{ground: "known"}, admin="another").person(cookie) is None


def test_a_session_does_not_end_with_the_secret_of_another_ground() -> None:
    cookie = sessions(viewer="known", oidc="known").begin("admin", OPERATOR)
    assert sessions(viewer="changed").person(cookie) == OPERATOR


def test_a_cookie_that_was_touched_opens_nothing() -> None:
    ours = sessions(viewer="known", oidc="known")
    cookie = ours.begin("viewer", VIEWER)
    ground, expires, nonce, role, name, signature = cookie.split(".")
    operator = urlsafe_b64encode(b"operator").decode().rstrip("=")
    later = urlsafe_b64encode(b"99999999").decode().rstrip("=")
    for forged in (
        None,
        "",
        "x",
        "..",
        f"{ground}.{later}.{nonce}.{role}.{name}.{signature}",
        f"{ground}.{expires}.{nonce}x.{role}.{name}.{signature}",
        f"{ground}.{expires}.{nonce}.{operator}.{name}.{signature}",
        f"admin.{expires}.{nonce}.{role}.{name}.{signature}",
        f"nobody.{expires}.{nonce}.{role}.{name}.{signature}",
        f"{ground}.{expires}.{nonce}.{role}.{operator}.{signature}",
        f"{ground}.{expires}.{nonce}.{role}.{name}.",
        f"{ground}.{expires}.{nonce}.{role}.{name}.ü",
    ):
        assert ours.person(forged) is None


def test_what_was_signed_for_something_else_is_no_session() -> None:
    ours = sessions()
    fields = ("99999999", "nonce", "operator", "eve")
    assert ours.person(ours.signer.signed("sign-in", "admin", *fields)) is None
    assert ours.person(ours.signer.signed("session", "admin", *fields)) is not None


def test_a_name_of_any_letters_stands_in_a_cookie_that_needs_no_quotes() -> None:
    for name in ("A", "Änne", "李 小龍", 'a.b;c="d"', "x" * 200):
        ann = Person(role="operator", name=name)
        ours = sessions(oidc="known")
        cookie = ours.begin("oidc", ann)
        assert re.fullmatch(r"[\w.-]+", cookie, re.ASCII)
        assert ours.person(cookie) == ann


def test_what_was_ended_stays_ended() -> None:
    ours = sessions()
    one, other = ours.begin("admin", OPERATOR), ours.begin("admin", OPERATOR)
    ours.end(one)
    ours.end("forged")
    assert ours.person(one) is None
    assert ours.person(other) == OPERATOR


def test_each_session_has_a_form_token_of_its_own_that_is_not_its_cookie() -> None:
    ours = sessions()
    one, other = ours.begin("admin", OPERATOR), ours.begin("admin", OPERATOR)
    assert len({ours.form_token(one), ours.form_token(other), one, other}) == 4
