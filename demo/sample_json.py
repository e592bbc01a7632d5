"""JSON values that satisfy a JSON Schema, and values that miss it. Pure; few keywords."""

from collections.abc import Mapping
from typing import Any


def sample(schema: Mapping[str, Any]) -> Any:
    """A value that satisfies the keywords type, properties, items and enum of a JSON Schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    match _type(schema):
        case "object":
            return {name: sample(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [sample(schema.get("items", {"type": "string"}))]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return "Zürich"


def misfit(schema: Mapping[str, Any]) -> Any:
    """An object whose properties all have another type than the schema's; {} for a schema without any."""
    properties = schema.get("properties", {})
    return {name: 7 if _type(part) == "string" else "seven" for name, part in properties.items()}


def _type(schema: Mapping[str, Any]) -> str:
    return str(schema.get("type", "object")).lower()
