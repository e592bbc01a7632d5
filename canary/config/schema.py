"""The JSON Schema of `canary.yaml`, for editors and for suggesting the valid key near a mistyped one."""

from collections.abc import Mapping, Sequence
from typing import Any

from canary.config.errors import Path
from canary.config.sections import FileSection

Node = Mapping[str, Any]

_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}
_SCALARS = ("boolean", "integer", "number")


def json_schema() -> dict[str, Any]:
    """The JSON Schema, draft 2020-12. Every value may also be `${NAME}`."""
    schema = _with_references(FileSection.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "canary.yaml"}


def known_keys(path: Path) -> Sequence[str]:
    """The keys allowed in the mapping at this path; empty if any key is allowed."""
    root: Node = FileSection.model_json_schema(by_alias=True)
    nodes: list[Node] = [root]
    for part in path:
        nodes = [below for node in _alternatives(nodes, root) for below in _below(node, part)]
    return [key for node in _alternatives(nodes, root) for key in node.get("properties", {})]


def _alternatives(nodes: Sequence[Node], root: Node) -> list[Node]:
    """The nodes with references resolved and unions expanded."""
    found: list[Node] = []
    for node in nodes:
        if "$ref" in node:
            found += _alternatives([root["$defs"][node["$ref"].rpartition("/")[2]]], root)
        elif "anyOf" in node:
            found += _alternatives(node["anyOf"], root)
        else:
            found.append(node)
    return found


def _below(node: Node, part: str | int) -> list[Node]:
    if isinstance(part, int):
        return [node["items"]] if "items" in node else []
    if part in node.get("properties", {}):
        return [node["properties"][part]]
    more = node.get("additionalProperties")
    return [more] if isinstance(more, Mapping) else []


def _with_references(node: Any) -> Any:
    """The schema with `${NAME}` allowed for every value that is not already free text.

    Drops pydantic's titles, which repeat the keys, and null defaults.
    """
    if isinstance(node, list):
        return [_with_references(child) for child in node]
    if not isinstance(node, dict):
        return node
    wanted = {
        key: child for key, child in node.items() if key != "title" and (key, child) != ("default", None)
    }
    if _is_narrow(wanted):
        about = {key: wanted[key] for key in ("description", "default") if key in wanted}
        value = {key: child for key, child in wanted.items() if key not in about}
        return {**about, "anyOf": [value, _REFERENCE]}
    return {
        key: child if key in ("default", "examples", "required") else _with_references(child)
        for key, child in wanted.items()
    }


def _is_narrow(node: Mapping[str, object]) -> bool:
    return (
        node.get("type") in _SCALARS or "enum" in node or (node.get("type") == "string" and "pattern" in node)
    )
