"""What a worker and its checker process say to each other."""

import msgspec


class CheckJob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One exchange's work.

    `checks`: whether the schema is in OpenAPI's form, the schema, and the value, as JSON. `text`: to redact,
    also by `patterns`.
    """

    checks: list[tuple[bool, bytes, bytes]] = []
    text: str = ""
    patterns: tuple[str, ...] = ()


class CheckResult(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`verdicts`: whether each value fits, None where the schema cannot be used. `text`: redacted."""

    verdicts: list[bool | None] = []
    text: str = ""
