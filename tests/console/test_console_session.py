"""Sessions: who is let in by a cookie, and for how long."""

from console.session import LASTS_S, Sessions


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_lasts_twelve_hours() -> None:
    clock = Clock()
    sessions = Sessions(lambda: "token", clock)
    cookie = sessions.begin()
    assert sessions.admits(cookie)
    clock.now += LASTS_S - 1
    assert sessions.admits(cookie)
    clock.now += 2
    assert not sessions.admits(cookie)


def test_another_admin_with_the_same_token_knows_the_session_and_one_with_another_does_not() -> None:
    cookie = Sessions(lambda: "token", Clock()).begin()
    assert Sessions(lambda: "token", Clock()).admits(cookie)
    assert not Sessions(lambda: "another", Clock()).admits(cookie)
    assert not Sessions(lambda: None, Clock()).admits(cookie)


def test_a_cookie_that_was_touched_opens_nothing() -> None:
    sessions = Sessions(lambda: "token", Clock())
    expires, nonce, signature = sessions.begin().split(".")
    for forged in (
        None,
        "",
        "x",
        "..",
        f"9{expires}.{nonce}.{signature}",
        f"{expires}.{nonce}x.{signature}",
        f"{expires}.{nonce}.",
        f"{expires}.{nonce}.ü",
    ):
        assert not sessions.admits(forged)


def test_what_was_ended_stays_ended() -> None:
    sessions = Sessions(lambda: "token", Clock())
    one, other = sessions.begin(), sessions.begin()
    sessions.end(one)
    sessions.end("forged")
    assert not sessions.admits(one)
    assert sessions.admits(other)


def test_each_session_has_a_form_token_of_its_own_that_is_not_its_cookie() -> None:
    sessions = Sessions(lambda: "token", Clock())
    one, other = sessions.begin(), sessions.begin()
    assert len({sessions.form_token(one), sessions.form_token(other), one, other}) == 4
