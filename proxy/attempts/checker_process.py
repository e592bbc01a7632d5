"""The process that checks values against JSON Schemas, and redacts by a canary's patterns, for one worker.

    python -P -m proxy.attempts.checker_process

Both may run for hours, and a pattern holds the GIL, so neither runs in the worker. A job that takes longer
than JOB_WITHIN_S of CPU ends this process by SIGPROF, and the worker starts another. Jobs come on stdin and
results go to stdout (`pipe`). It ends with its stdin.
"""

import signal
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.network.pipe import messages, send
from records.captures.redaction import redacted


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


JOB_WITHIN_S = 0.05
_SCHEMA_MAPS = ("properties", "$defs", "definitions")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties")
_LIMITS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_KEPT = ("required", "enum", "pattern", "minimum", "maximum", "$ref")


def result(job: CheckJob) -> CheckResult:
    verdicts = [_verdict(*check) for check in job.checks]
    return CheckResult(verdicts, redacted(job.text, job.patterns) if job.text else "")


def _verdict(openapi: bool, schema: bytes, value: bytes) -> bool | None:
    """Whether a value fits a schema; None where the schema cannot be used, or nests too deeply."""
    try:
        fits: bool = _validator(openapi, schema).is_valid(msgspec.json.decode(value))
    except Exception:  # the library and the translation raise errors of many kinds
        return None
    return fits


CACHED_BYTES = 1 << 20
"""Text of the schemas whose validators are kept. A validator takes some fifty times its schema's text."""

_kept: dict[tuple[bool, bytes], Any] = {}


def _validator(openapi: bool, schema: bytes) -> Any:
    """A schema's validator, made once as long as the newest schemas are within CACHED_BYTES."""
    key = (openapi, schema)
    found = _kept.pop(key, None)
    _kept[key] = found if found is not None else _made(openapi, schema)
    while sum(len(text) for _, text in _kept) > CACHED_BYTES and len(_kept) > 1:
        del _kept[next(iter(_kept))]
    return _kept[key]


def _made(openapi: bool, schema: bytes) -> Any:
    """A schema's validator, by its own draft or 2020-12. Nothing outside the schema is ever fetched."""
    import jsonschema_rs  # here: the worker imports this module for its messages

    document = msgspec.json.decode(schema)
    return jsonschema_rs.validator_for(
        as_json_schema(document) if openapi else document, validate_formats=False, offline=True
    )


def as_json_schema(schema: Any) -> Any:
    """Translate Gemini's part of OpenAPI: types in upper case, `nullable`, limits as strings."""
    if not isinstance(schema, Mapping):
        return schema
    there = {name: schema[name] for name in _KEPT if name in schema}
    there |= {name: int(schema[name]) for name in _LIMITS if name in schema}
    there |= {name: as_json_schema(schema[name]) for name in _SCHEMAS if name in schema}
    there |= {name: [as_json_schema(one) for one in schema[name]] for name in _SCHEMA_LISTS if name in schema}
    for name in _SCHEMA_MAPS:
        if name in schema:
            there[name] = {key: as_json_schema(one) for key, one in schema[name].items()}
    return _typed(there, schema)


def _typed(there: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    names = [str(one).lower() for one in (kind if isinstance(kind, list) else [kind]) if one]
    names = [name for name in names if name != "type_unspecified"]
    if schema.get("nullable"):
        return {"anyOf": [{"type": "null"}, {**there, "type": names} if names else there]}
    return {**there, "type": names} if names else there


def serve(jobs: int, results: int) -> None:
    """Do jobs until the input ends."""
    import jsonschema_rs  # noqa: F401 - before the clock of the first job runs

    for message in messages(jobs):
        job = msgspec.msgpack.decode(message or b"", type=CheckJob)
        signal.setitimer(signal.ITIMER_PROF, JOB_WITHIN_S)
        answer = msgspec.msgpack.encode(result(job))
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        send(results, answer)


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    serve(sys.stdin.fileno(), sys.stdout.fileno())
