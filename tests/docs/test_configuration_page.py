"""docs/configuration.md says of each key what the schema says: its allowed values, its default, its flag.

That each key has a row, and which are required, is held by tests/canary/test_config_load.py.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from canary.cli import app
from tests.canary.test_config_load import PAGE, SECTIONS, schema_of, tables

KEYS = [
    pytest.param(heading, key, schema, id=f"{section or 'file'}.{key}")
    for heading, section in SECTIONS.items()
    for key, schema in schema_of(section)["properties"].items()
]
SPELT_OUT = {"providers", "rule"}  # one must be there; the rules have a table of their own


def allowed(schema: Any) -> Iterator[str]:
    """Every literal that a key may have, however deep its schema says so."""
    if isinstance(schema, dict):
        yield from schema.get("enum", ())
        if "const" in schema:
            yield schema["const"]
        schema = list(schema.values())
    for part in schema if isinstance(schema, list) else ():
        yield from allowed(part)


def row_of(heading: str, key: str) -> list[str]:
    return next(row for row in tables()[heading] if row[0] == f"`{key}`")


def written(default: Any) -> str:
    """A default as the page writes it: YAML's own words, and no decimals that say nothing."""
    if isinstance(default, list):
        return f"[{', '.join(default)}]"
    if isinstance(default, float):
        return f"{default:g}"
    return default if isinstance(default, str) else json.dumps(default)


@pytest.mark.parametrize(("heading", "key", "schema"), KEYS)
def test_a_row_names_every_value_that_its_key_may_have(heading: str, key: str, schema: Any) -> None:
    place = PAGE if key in SPELT_OUT else " ".join(row_of(heading, key))
    assert [value for value in allowed(schema) if f"`{value}`" not in place] == []


@pytest.mark.parametrize(("heading", "key", "schema"), KEYS)
def test_a_row_tells_the_default_that_the_schema_has(heading: str, key: str, schema: Any) -> None:
    if "default" in schema and key not in SPELT_OUT:
        assert row_of(heading, key)[2] == f"`{written(schema['default'])}`"


NO_KEY = ("config", "help", "take_over", "log")
"""Options of `serve` that stand for no key of the file."""


def test_a_key_that_a_flag_or_variable_replaces_says_which() -> None:
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    flags = {each.name: each for each in serve.params if each.name not in NO_KEY}
    documented = {row[0].strip("`"): row[3] for row in tables()["The file"] if "Also `--" in row[3]}
    assert documented.keys() == flags.keys()
    for name, meaning in documented.items():
        assert f"Also `--{name}`, `CANARY_{name.upper()}`." in meaning
