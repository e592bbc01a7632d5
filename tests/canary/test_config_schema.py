import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from canary.config.schema import json_schema, known_keys

EXAMPLE = Path(__file__).parents[2] / "canary.example.yaml"

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
CHECKED = {
    "type",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "$ref",
    "pattern",
    "required",
    "properties",
    "items",
} | {
    *("additionalProperties", "minimum", "maximum", "exclusiveMinimum", "minItems", "maxItems", "minLength"),
    *("propertyNames",),
}
DESCRIBING = {"description", "default", "title", "examples", "$schema", "$defs"}


def objections(value: Any, node: dict[str, Any], root: dict[str, Any], path: str = "") -> Iterator[str]:
    """What a JSON Schema validator would object to, for the few keywords that this schema uses."""
    assert node.keys() <= CHECKED | DESCRIBING, f"the test cannot check {node.keys()}"
    if "$ref" in node:
        yield from objections(value, root["$defs"][node["$ref"].rpartition("/")[2]], root, path)
    if "anyOf" in node and all(any(objections(value, each, root, path)) for each in node["anyOf"]):
        yield f"{path}: {value!r} fits none of {node['anyOf']}"
    if "oneOf" in node and sum(not any(objections(value, each, root, path)) for each in node["oneOf"]) != 1:
        yield f"{path}: {value!r} fits none or several of {node['oneOf']}"
    right = TYPES[node["type"]] if "type" in node else object
    if not isinstance(value, right) or (
        isinstance(value, bool) and node.get("type") in ("number", "integer")
    ):
        yield f"{path}: {value!r} is no {node['type']}"
        return
    if value not in node.get("enum", [value]) or value != node.get("const", value):
        yield f"{path}: {value!r} is not allowed"
    if isinstance(value, str):
        if not re.search(node.get("pattern", ""), value) or len(value) < node.get("minLength", 0):
            yield f"{path}: {value!r} looks wrong"
    elif isinstance(value, int | float):
        low, high = node.get("minimum", value), node.get("maximum", value)
        if not low <= value <= high or value <= node.get("exclusiveMinimum", value - 1):
            yield f"{path}: {value!r} is out of range"
    elif isinstance(value, list):
        if not node.get("minItems", 0) <= len(value) <= node.get("maxItems", len(value)):
            yield f"{path}: has {len(value)} items"
        for index, item in enumerate(value):
            yield from objections(item, node.get("items", {}), root, f"{path}[{index}]")
    elif isinstance(value, dict):
        yield from (f"{path}: lacks {key}" for key in node.get("required", []) if key not in value)
        yield from _objections_to_entries(value, node, root, path)


def _objections_to_entries(
    value: dict[str, Any], node: dict[str, Any], root: dict[str, Any], path: str
) -> Iterator[str]:
    for key, child in value.items():
        below = node.get("properties", {}).get(key, node.get("additionalProperties", {}))
        if below is False:
            yield f"{path}: has no key {key}"
        elif below is not True:
            yield from objections(child, below, root, f"{path}.{key}")


def example() -> Any:
    return yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))


def objections_to(document: Any) -> list[str]:
    schema = json_schema()
    return list(objections(document, schema, schema))


def test_the_schema_accepts_the_example() -> None:
    assert objections_to(example()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"notfy": []},
        {"workers": 0},
        {"workers": "four"},
        {"retention": 90},
        {"retention": "90"},
        {"providers": {"openai": {"api": "openai"}}},
        {"providers": {"openai": {"api": "opanai", "base_url": "https://host"}}},
        {"canaries": [{"name": "trial"}]},
        {"canaries": {}},
        {"metrics": {"settled": {"kind": "bool"}}},
        {"metrics": {"settled": {"question": "?"}}},
        {"metrics": {"settled": {"kind": "bool", "question": "?", "per": "team"}}},
        {"metrics": {"price": {"kind": "bool", "cost_per": "churn", "question": "?"}}},
        {"metrics": {"settled": {"kind": "bool", "question": "?", "higher_is_better": "maybe"}}},
        {"metrics": {"settled": {"kind": "rating", "question": "?", "scale": [1, 2, 3]}}},
        {"prices": {"m": {"input": -1, "output": 1}}},
        {"notify": [{"pagerduty": {}}]},
    ],
)
def test_the_schema_refuses_what_the_config_refuses(change: dict[str, Any]) -> None:
    assert objections_to({**example(), **change}) != []


@pytest.mark.parametrize("share", [5, "5", 1.5, "five", -0.1])
def test_the_schema_refuses_impossible_shares(share: object) -> None:
    document = example()
    document["canaries"][0]["mirror"] = share
    assert objections_to(document) != []


@pytest.mark.parametrize("share", [0.05, 0, "5%", "2.5%", "${SHARE:-5%}"])
def test_the_schema_accepts_shares_in_every_form(share: object) -> None:
    document = example()
    document["canaries"][0]["mirror"] = share
    assert objections_to(document) == []


@pytest.mark.parametrize("guardrails", ["default", [], [{"rule": "csat", "limit": "5%", "window": "run"}]])
def test_the_schema_accepts_guardrails_in_every_form(guardrails: object) -> None:
    document = example()
    document["canaries"][0]["guardrails"] = guardrails
    assert objections_to(document) == []


def test_a_reference_may_stand_for_any_value() -> None:
    document = {**example(), "workers": "${WORKERS:-4}", "retention": "${KEEP}", "traffic": "${LISTEN}"}
    assert objections_to(document) == []


def test_known_keys_are_found_through_lists_mappings_and_options() -> None:
    assert known_keys(("canaries", 0, "ramp", 1)) == ["share", "for", "until"]
    assert known_keys(("providers", "any-name", "timeout"))[0] == "connect"
    assert known_keys(("canaries", 0, "guardrails", 0))[0] == "rule"
    assert "api_key" in known_keys(("providers", "any-name"))


def test_no_keys_are_known_where_any_may_stand() -> None:
    assert known_keys(("providers",)) == []
    assert known_keys(("nowhere", "at", "all")) == []
