"""The table of the vendors' calls (docs/sdks.md) against the installed SDKs and what canary takes."""

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from proxy.dialects.operation import Api
from proxy.providers.urls import operation, target_of

DOCS = Path(__file__).parents[2] / "docs" / "sdks.md"
HEADING = "### Which calls name or make such state\n"
SENDS = {"_get": "GET", "_post": "POST", "_put": "PUT", "_patch": "PATCH", "_delete": "DELETE"}
APIS: dict[str, Api] = {"openai": "openai", "anthropic": "anthropic", "google-genai": "gemini"}
MODULES = {"openai": "openai", "anthropic": "anthropic", "google-genai": "google.genai"}
DOUBLES = re.compile(r"/tests/|/_(?:replay|test)_api_client")
"""Files of google-genai that test it."""
GOOGLES = re.compile(r"""\bpath = '([^'/][^']*)'|method="([A-Z]+)",\s*path="/([^"]+)\"""")


class SdkCall(NamedTuple):
    """A call that an SDK makes. `method`: "" where it is not read (most of google-genai's)."""

    method: str
    path: str


class Row(NamedTuple):
    sdk: str
    calls: list[str]
    goes_to: str

    def fits(self, call: SdkCall) -> bool:
        return any(_fits(each, call) for each in self.calls)


def _fits(written: str, call: SdkCall) -> bool:
    method, _, path = written.rpartition(" ")
    if method and call.method and method != call.method:
        return False
    return call.path == path or (path.endswith("…") and call.path.startswith(path.removesuffix("…")))


def rows() -> list[Row]:
    table = DOCS.read_text().partition(HEADING)[2].partition("\n## ")[0]
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    return [Row(sdk, re.findall("`([^`]+)`", calls), goes_to) for sdk, calls, _, goes_to in found[2:]]


def root(sdk: str) -> Path:
    spec = find_spec(MODULES[sdk])
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def calls_of(sdk: str) -> set[SdkCall]:
    """All calls of an SDK, read from its source."""
    if sdk == "google-genai":
        files = [file for file in root(sdk).rglob("*.py") if not DOUBLES.search(str(file))]
        found = [match for file in files for match in GOOGLES.finditer(file.read_text())]
        return {SdkCall(match[2] or "", _plain(match[1] or match[3])) for match in found}
    return {call for file in (root(sdk) / "resources").rglob("*.py") for call in _sent(file)}


def _plain(path: str) -> str:
    """A template of google-genai's without the version before it and the query behind it."""
    return path.replace("{{", "{").replace("}}", "}").removeprefix("{api_version}/").split("?")[0]


def _sent(file: Path) -> Iterator[SdkCall]:
    for node in ast.walk(ast.parse(file.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "self"):
            continue
        method = SENDS.get(node.func.attr)
        if node.func.attr == "_get_api_list":
            asked = [keyword.value for keyword in node.keywords if keyword.arg == "method"]
            method = "POST" if asked else "GET"
        if method is not None and (path := _template(node.args[0])):
            yield SdkCall(method, path.split("?")[0])


def _template(node: ast.expr) -> str:
    """The path, also where a call fills it; "" for an address that an answer gave. What is written in a form
    that is not known here is no path that the table knows."""
    if isinstance(node, ast.Call) and node.args:
        return _template(node.args[0])
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def operation_of(sdk: str, call: SdkCall) -> str:
    """What canary takes this call for; "other" for one that only passes through."""
    api, path = APIS[sdk], re.sub(r"^\{model\}", "models/m", call.path)
    if sdk == "google-genai":
        path = f"/v1beta/{path}"
    return operation(api, call.method or "POST", target_of(api, re.sub(r"\{\w+\}", "id_1", path))).name


@pytest.mark.parametrize("sdk", APIS)
def test_the_table_knows_every_call_of_an_sdk_and_where_it_goes(sdk: str) -> None:
    calls, table = calls_of(sdk), [row for row in rows() if row.sdk == sdk]
    assert len(calls) > 40
    unknown, wrong = [], []
    for call in sorted(calls):
        row = next((row for row in table if row.fits(call)), None)
        if row is None:
            unknown.append(call)
            continue
        arm = re.fullmatch("arm: `(.+)`", row.goes_to)
        if operation_of(sdk, call) != (arm[1] if arm else "other"):
            wrong.append((call, row.goes_to))
    assert (unknown, wrong) == ([], [])


@pytest.mark.parametrize("sdk", APIS)
def test_every_line_of_the_table_fits_a_call_and_what_is_outside_has_a_reason(sdk: str) -> None:
    calls, table = calls_of(sdk), [row for row in rows() if row.sdk == sdk]
    for row in table:
        assert re.fullmatch("arm: `.+`|entry|outside: .+", row.goes_to), row
        idle = [each for each in row.calls if not any(_fits(each, call) for call in calls)]
        assert idle == [], row
