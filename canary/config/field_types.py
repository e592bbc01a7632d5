"""The field types of the config's sections, and their base class."""

import re
from collections.abc import Callable
from datetime import date, time
from hashlib import sha256
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)

from canary.config.quantity import (
    HostPort,
    parse_address,
    parse_duration,
    parse_risk,
    parse_scale,
    parse_share,
)
from records.facts.feedback import parse_number
from records.facts.retirement import LastDay
from verdict.terms.plan import RISKS
from verdict.terms.rubric import Bound, parse_bound

MOST_KEYS = 2
"""Keys of one caller: two while one replaces the other."""

KEY_PREFIX = "ck_"
"""Begins the keys that `canary callers new` makes."""


_OF_NOTHING = sha256(b"").hexdigest()


class ConfigSection(BaseModel):
    """A mapping in the config. Rejects unknown keys; immutable. A key is a field's name without the unit."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        alias_generator=lambda name: name.removesuffix("_s").removesuffix("_usd"),
    )


def _parsed(parse: Callable[[str], object]) -> PlainValidator:
    """Reads a single value by its text."""
    return PlainValidator(lambda value: parse(_text(value)))


def _duration(text: str) -> float:
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError("must be longer than 0")
    return seconds


def _some_of(text: str, without: str) -> float:
    """A share above 0%, of which the message says what there is `without`."""
    share = parse_share(text)
    if share == 0:
        raise ValueError(f"0% {without}")
    return share


_NO_REQUESTS = "sends nothing to the candidate; write a share above 0%, for example 5%"
_NO_USERS = "gives the canary no users; write a lane above 0%, for example 50%, or leave it out"


def _weight(value: object) -> object:
    """The number of a weight that may be written as a percentage: weights often add up to 100 %."""
    return value.strip().removesuffix("%").rstrip() if isinstance(value, str) else value


def _number(text: str) -> bool | int | float:
    try:
        return parse_number(text)
    except ValueError as problem:
        raise ValueError("must be a number, true or false") from problem


def _date(value: object) -> date:
    try:
        return date.fromisoformat(_text(value))
    except ValueError as problem:
        raise ValueError("must be a day, such as 2027-02-01") from problem


def _last_day(value: object) -> LastDay:
    """A day alone, or with the model that is to follow."""
    if not isinstance(value, dict):
        return LastDay(on=_date(value))
    if unknown := value.keys() - {"on", "successor"}:
        raise ValueError(f"has on and successor, and not {', '.join(map(str, unknown))}")
    if "on" not in value:
        raise ValueError("needs the day: {on: 2027-02-01, successor: MODEL}")
    successor = value.get("successor", "")
    return LastDay(on=_date(value["on"]), successor=_text(successor))


def _time(text: str) -> time:
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", text):
        raise ValueError('must be a time of day, such as "09:00"')
    return time.fromisoformat(text.zfill(len("09:00")))


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as problem:
        raise ValueError("must be a time zone of the IANA database, such as Europe/Berlin") from problem
    return text


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("needs a value" if value is None else "must be a single value")
    return value


def _digests(value: object) -> tuple[str, ...]:
    """One digest or a list of two, in lower case. No message quotes a value: it may be the key itself."""
    given = value if isinstance(value, list) else [value]
    if not 1 <= len(given) <= MOST_KEYS:
        raise ValueError("must be one digest, or a list of two while a key is replaced")
    digests = tuple(_text(each).strip().lower() for each in given)
    for each in digests:
        if not re.fullmatch("[0-9a-f]{64}", each):
            what = "looks like a key, not its digest" if each.startswith(KEY_PREFIX) else "is no digest"
            raise ValueError(
                f"{what}; write the SHA-256 of the key, 64 hex digits (`canary callers new NAME` prints it)"
            )
        if each == _OF_NOTHING:
            raise ValueError("is the digest of an empty key, which anybody has; make a new one")
    return digests


def _empty_is_none(value: object) -> object:
    """`${KEY:-}` without KEY in the environment is the same as no value."""
    return None if value == "" else value


def _like(*examples: str, **more: str) -> dict[str, Any]:
    """The schema of a text such as these."""
    return {"type": "string", **more, "examples": [*examples]}


_DURATION_SCHEMA = _like("5s", "10m", "3d", pattern=r"^\d+(\.\d+)?\s*(ms|s|m|h|d|w)$")
_SHARE_SCHEMA = {
    "anyOf": [
        _like("5%", pattern=r"^\d+(\.\d+)?\s*%$"),
        {"type": "number", "minimum": 0, "maximum": 1},
    ]
}
_RISK_SCHEMA = {"anyOf": [{"enum": list(RISKS)}, *_SHARE_SCHEMA["anyOf"]]}
_DIGEST_SCHEMA = {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}
_SCALE_SCHEMA = {
    "anyOf": [
        _like("1-7"),
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    ]
}

Text = Annotated[str, StringConstraints(min_length=1)]
MaybeText = Annotated[Text | None, BeforeValidator(_empty_is_none)]
AnyDuration = Annotated[float, _parsed(parse_duration), WithJsonSchema(_DURATION_SCHEMA)]
Duration = Annotated[float, _parsed(_duration), WithJsonSchema(_DURATION_SCHEMA)]
AnyShare = Annotated[float, _parsed(parse_share), WithJsonSchema(_SHARE_SCHEMA)]
Share = Annotated[float, _parsed(lambda text: _some_of(text, _NO_REQUESTS)), WithJsonSchema(_SHARE_SCHEMA)]
LaneSize = Annotated[float, _parsed(lambda text: _some_of(text, _NO_USERS)), WithJsonSchema(_SHARE_SCHEMA)]
Risk = Annotated[float, _parsed(lambda text: parse_risk(text, RISKS)), WithJsonSchema(_RISK_SCHEMA)]
Scale = Annotated[tuple[float, float], PlainValidator(parse_scale), WithJsonSchema(_SCALE_SCHEMA)]
BoundText = Annotated[
    Bound, _parsed(parse_bound), WithJsonSchema(_like(">= 85%", "< 2s", ">= baseline - 2%"))
]
ListenAddress = Annotated[
    HostPort, _parsed(parse_address), WithJsonSchema(_like("127.0.0.1:8080", pattern=r"^\S+:\d+$"))
]
_DAY_SCHEMA = _like("2027-02-01", format="date")
LastDayText = Annotated[
    LastDay,
    PlainValidator(_last_day),
    WithJsonSchema(
        {
            "anyOf": [
                _DAY_SCHEMA,
                {
                    "type": "object",
                    "properties": {"on": _DAY_SCHEMA, "successor": {"type": "string", "minLength": 1}},
                    "required": ["on"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
TimeText = Annotated[time, _parsed(_time), WithJsonSchema(_like("09:00", pattern=r"^\d{1,2}:\d{2}$"))]
TimeZone = Annotated[str, _parsed(_zone), WithJsonSchema(_like("Europe/Berlin"))]
LimitText = Annotated[
    str,
    PlainValidator(_text),
    WithJsonSchema({"anyOf": [{"type": "number"}, _like("5%", "3s", "1.5x")]}),
]
WindowText = Annotated[str, PlainValidator(_text), WithJsonSchema(_like("10m", "24h", "run"))]
KeyDigests = Annotated[
    tuple[str, ...],
    PlainValidator(_digests),
    WithJsonSchema(
        {
            "anyOf": [
                _DIGEST_SCHEMA,
                {"type": "array", "items": _DIGEST_SCHEMA, "minItems": 1, "maxItems": MOST_KEYS},
            ]
        }
    ),
]
MappedNumber = Annotated[
    bool | int | float,
    _parsed(_number),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "number"}]}),
]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[
    float,
    BeforeValidator(_weight),
    Field(gt=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                _like("40%", pattern=r"^\d+(\.\d+)?\s*%$"),
            ]
        }
    ),
]
NotNegative = Annotated[float, Field(ge=0)]
