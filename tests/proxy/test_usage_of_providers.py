"""The usage of providers that speak OpenAI's API, in documents of the forms that they describe.

Where each says so: docs.mistral.ai (release note of 16 January 2024: usage in a stream's final chunk),
console.groq.com (`x_groq.usage`), api-docs.deepseek.com (`prompt_cache_hit_tokens`), docs.x.ai (reasoning
beside the completion; cost-tracking: `cost_in_usd_ticks`), openrouter.ai (usage-accounting: `cost`),
docs.together.ai, docs.vllm.ai, docs.ollama.com, and llama.cpp's tools/server/README.md.
"""

import json
from typing import Any

import pytest

from proxy.dialects.openai import ChatEvents, read_json
from proxy.dialects.responses import ResponsesEvents
from records.outcome import Usage

STOP = [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}]
HELLO = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]}
GROQ = {
    "queue_time": 0.018, "prompt_tokens": 72, "prompt_time": 0.0031, "completion_tokens": 61,
    "completion_time": 0.082, "total_tokens": 133, "total_time": 0.085,
    "prompt_tokens_details": {"cached_tokens": 64}, "completion_tokens_details": {"reasoning_tokens": 40},
}  # fmt: skip
GROQ_USAGE = Usage(input_tokens=72, cached_input_tokens=64, output_tokens=61, reasoning_tokens=40)
MISTRAL = {
    "prompt_tokens": 1013, "total_tokens": 1043, "completion_tokens": 30, "prompt_audio_seconds": {},
    "prompt_tokens_details": {"cached_tokens": 1008},
}  # fmt: skip
MISTRAL_USAGE = Usage(input_tokens=1013, cached_input_tokens=1008, output_tokens=30)
DEEPSEEK = {
    "prompt_tokens": 140, "completion_tokens": 90, "total_tokens": 230,
    "prompt_tokens_details": {"cached_tokens": 128}, "completion_tokens_details": {"reasoning_tokens": 51},
    "prompt_cache_hit_tokens": 128, "prompt_cache_miss_tokens": 12,
}  # fmt: skip
DEEPSEEK_USAGE = Usage(input_tokens=140, cached_input_tokens=128, output_tokens=90, reasoning_tokens=51)
XAI = {
    "prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
    "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 6},
    "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0, "accepted_prediction_tokens": 0},
    "num_sources_used": 0, "cost_in_usd_ticks": 37756000,
}  # fmt: skip
XAI_USAGE = Usage(
    input_tokens=32,
    cached_input_tokens=6,
    output_tokens=103,
    reasoning_tokens=94,
    stated_usd=pytest.approx(0.0037756),  # type: ignore[arg-type]
)
TOGETHER = {"prompt_tokens": 50, "completion_tokens": 12, "total_tokens": 62, "cached_tokens": 40}
TOGETHER_USAGE = Usage(input_tokens=50, cached_input_tokens=40, output_tokens=12)
OPENROUTER = {
    "prompt_tokens": 194, "completion_tokens": 2, "total_tokens": 196, "cost": 0.00095, "is_byok": False,
    "cost_details": {"upstream_inference_cost": 19}, "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}  # fmt: skip
OPENROUTER_USAGE = Usage(
    input_tokens=194, cached_input_tokens=0, output_tokens=2, reasoning_tokens=0, stated_usd=0.00095
)
VLLM = {
    "prompt_tokens": 17, "total_tokens": 27, "completion_tokens": 10, "prompt_tokens_details": None,
}  # fmt: skip
OLLAMA = {"prompt_tokens": 26, "completion_tokens": 298, "total_tokens": 324}
LLAMA_CPP = {
    "completion_tokens": 8, "prompt_tokens": 44, "total_tokens": 52,
    "prompt_tokens_details": {"cached_tokens": 43},
}  # fmt: skip

STREAMED: dict[str, tuple[list[dict[str, Any]], Usage]] = {
    "mistral, in the last chunk by itself": ([{"choices": STOP, "usage": MISTRAL}], MISTRAL_USAGE),
    "groq, unasked": ([{"choices": STOP, "x_groq": {"id": "req_1", "usage": GROQ}}], GROQ_USAGE),
    "groq, asked": (
        [
            {"choices": STOP, "x_groq": {"id": "req_1", "usage": GROQ}},
            {"choices": [], "usage": GROQ, "x_groq": {"id": "req_1"}},
        ],
        GROQ_USAGE,
    ),
    "deepseek": ([{"choices": STOP, "usage": None}, {"choices": [], "usage": DEEPSEEK}], DEEPSEEK_USAGE),
    "xai": ([{"choices": STOP}, {"choices": [], "usage": XAI}], XAI_USAGE),
    "together": ([{"choices": STOP, "usage": TOGETHER}], TOGETHER_USAGE),
    "openrouter": ([{"choices": STOP}, {"choices": STOP, "usage": OPENROUTER}], OPENROUTER_USAGE),
    "vllm": ([{"choices": STOP}, {"choices": [], "usage": VLLM}], Usage(input_tokens=17, output_tokens=10)),
    "ollama": (
        [{"choices": STOP}, {"choices": [], "usage": OLLAMA}],
        Usage(input_tokens=26, output_tokens=298),
    ),
    "llama.cpp": (
        [
            {"choices": STOP},
            {"choices": [], "usage": LLAMA_CPP, "timings": {"prompt_n": 1, "predicted_n": 8}},
        ],
        Usage(input_tokens=44, cached_input_tokens=43, output_tokens=8),
    ),
}
WHOLE: dict[str, tuple[dict[str, Any], Usage]] = {
    "mistral": (MISTRAL, MISTRAL_USAGE),
    "groq": (GROQ, GROQ_USAGE),
    "deepseek": (DEEPSEEK, DEEPSEEK_USAGE),
    "xai": (XAI, XAI_USAGE),
    "together": (TOGETHER, TOGETHER_USAGE),
    "openrouter": (OPENROUTER, OPENROUTER_USAGE),
    "vllm": (VLLM, Usage(input_tokens=17, output_tokens=10)),
    "ollama": (OLLAMA, Usage(input_tokens=26, output_tokens=298)),
    "llama.cpp": (LLAMA_CPP, Usage(input_tokens=44, cached_input_tokens=43, output_tokens=8)),
}


@pytest.mark.parametrize("case", STREAMED)
def test_a_streams_usage_is_read(case: str) -> None:
    chunks, usage = STREAMED[case]
    events = ChatEvents()
    for chunk in (HELLO, *chunks):
        events.take(b"", json.dumps({"object": "chat.completion.chunk", **chunk}).encode())
    events.take(b"", b"[DONE]")
    assert events.seen.usage == usage


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answers_usage_is_read(name: str) -> None:
    counts, usage = WHOLE[name]
    document = {"object": "chat.completion", "choices": [], "usage": counts}
    assert read_json(json.dumps(document).encode()).usage == usage


@pytest.mark.parametrize(
    ("cost", "stated"),
    [
        (0, 0.0),
        (0.25, 0.25),
        (1, 1.0),
        (-0.1, None),
        (True, None),
        ("0.25", None),
        (None, None),
        ({"total_cost": 0.25}, None),
        (10**40, None),
    ],
)
def test_a_stated_cost_is_a_number_and_never_hides_the_counts(cost: Any, stated: float | None) -> None:
    document = {"usage": {"prompt_tokens": 5, "completion_tokens": 2, "cost": cost}}
    usage = Usage(input_tokens=5, output_tokens=2, stated_usd=stated)
    assert read_json(json.dumps(document).encode()).usage == usage
    events = ChatEvents()
    events.take(b"", json.dumps({"choices": STOP, **document}).encode())
    assert events.seen.usage == usage


@pytest.mark.parametrize("cost", [b"NaN", b"Infinity", b"1e999"])
def test_a_cost_that_is_no_number_of_json_is_not_taken(cost: bytes) -> None:
    reading = read_json(b'{"usage":{"prompt_tokens":5,"completion_tokens":2,"cost":%b}}' % cost)
    assert reading.usage is None or reading.usage.stated_usd is None


def test_a_responses_stream_states_its_cost_too() -> None:
    events = ResponsesEvents()
    done = {
        "type": "response.completed",
        "response": {"usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7, "cost": 0.5}},
    }
    events.take(b"response.completed", json.dumps(done).encode())
    assert events.seen.usage == Usage(input_tokens=5, output_tokens=2, stated_usd=0.5)
