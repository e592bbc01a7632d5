"""Bedrock's own wire API, with model and method in the path (`/model/MODEL/METHOD`)."""

import re
from dataclasses import replace

import msgspec

from proxy.dialects import bedrock_converse, bedrock_invoke, bedrock_output
from proxy.dialects.operation import (
    PASS_THROUGH,
    UNREADABLE,
    Count,
    JsonReading,
    Operation,
    OutputForm,
    is_json_object,
)
from records.outcome import Usage

MODEL_PATH = re.compile(r"^(?P<before>/model/)(?P<model>.+)/(?P<method>[a-z-]+)$")
"""The model is quoted, but an ARN's slashes need not be."""

_CONVERSE = Operation(
    name="chat",
    model_in="path",
    streams=False,
    read_json=bedrock_converse.read_json,
    amazon_errors=True,
    output=OutputForm(take=bedrock_output.take, read=bedrock_output.read, expected=bedrock_output.expected),
)
_INVOKE = Operation(
    name="invoke_model",
    model_in="path",
    streams=False,
    read_json=bedrock_invoke.read_json,
    amazon_errors=True,
    usage_in_head=bedrock_invoke.usage_in_head,
    output=OutputForm(
        take=bedrock_output.take_invoked,
        read=bedrock_output.read_invoked,
        expected=bedrock_output.expected_invoked,
    ),
)


class _Tokens(msgspec.Struct, rename="camel", gc=False):
    input_tokens: Count | None = None


_decode_tokens = msgspec.json.Decoder(_Tokens).decode


def _read_tokens(body: bytes) -> JsonReading:
    """Read a count of tokens."""
    try:
        return JsonReading(valid=True, usage=Usage(input_tokens=_decode_tokens(body).input_tokens))
    except UNREADABLE:
        return JsonReading(valid=is_json_object(body))


_METHODS = {
    "converse": _CONVERSE,
    "converse-stream": replace(_CONVERSE, streams=True, events=bedrock_converse.ConverseEvents),
    "invoke": _INVOKE,
    "invoke-with-response-stream": replace(_INVOKE, streams=True, events=bedrock_invoke.InvokedEvents),
    "count-tokens": Operation(
        name="count_tokens", model_in="path", streams=False, read_json=_read_tokens, amazon_errors=True
    ),
}


def operation(path: str) -> Operation:
    """Return the operation at a path below the host (`/model/amazon.nova-lite-v1%3A0/converse`)."""
    place = MODEL_PATH.match(path)
    return _METHODS.get(place["method"], PASS_THROUGH) if place else PASS_THROUGH
