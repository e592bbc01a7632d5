"""What an assistant may ask over MCP: the tools, their arguments, and their answers from the admin API.

| tool | arguments | asks |
|---|---|---|
| `releases` | `release`, optional | `GET /api/releases`, or of one |
| `status` | none | `GET /api/status` |
| `report` | `canary` | `GET /api/canaries/NAME/report` |
| `why` | `canary`; `unit`, optional | `GET /api/canaries/NAME/rollbacks`; `GET /api/explain` |

Every request is a GET. `canary.commands.mcp_answers` leaves out what may quote a user.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

import msgspec

from canary.commands.client import AdminClient, NotReached
from canary.commands.mcp_answers import brief_status, explained, explained_rollback, without_quotes
from canary.config.names import CANARY_NAME

_MOST_ROLLBACKS = "5"

_PATH = r"^(?!([\s\S]*/)?\.{0,2}(/|$))"
"""No segment is empty, `.` or `..`: those would lead to other documents of the server."""

_Canary = Annotated[str, msgspec.Meta(pattern=f"^{CANARY_NAME.pattern}$", description="A canary's name.")]
_Release = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=400,
        pattern=_PATH,
        description="A release's id, or its candidate as MODEL or PROVIDER/MODEL.",
    ),
]
_Unit = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=1000, description="The raw id of a user or other unit. It is not recorded."
    ),
]


class NoArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of a tool without any."""


class ReleaseArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of `releases`; without `release` all are listed."""

    release: _Release | msgspec.UnsetType = msgspec.UNSET


class CanaryArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of `report`."""

    canary: _Canary


class WhyArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of `why`; with `unit` the question is about that unit's arm."""

    canary: _Canary
    unit: _Unit | msgspec.UnsetType = msgspec.UNSET


class BadArguments(Exception):
    """A call that does not fit its tool. The message says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpTool:
    """One tool. `answer` asks the server and returns a JSON object; it may raise NotReached."""

    name: str
    description: str
    arguments: type[msgspec.Struct]
    answer: Callable[[AdminClient, Any], Mapping[str, Any]]

    @property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments, an object."""
        _, found = msgspec.json.schema_components([self.arguments])
        schema: dict[str, Any] = found[self.arguments.__name__]
        return {name: value for name, value in schema.items() if name not in ("title", "description")}

    def parsed(self, given: Mapping[str, Any]) -> msgspec.Struct:
        """The arguments as a value. Raises BadArguments."""
        try:
            return msgspec.convert(given, self.arguments)
        except msgspec.ValidationError as problem:
            raise BadArguments(f"{self.name}: {problem}. It takes {self._takes()}") from problem

    def _takes(self) -> str:
        schema = self.input_schema
        needed = schema.get("required", [])
        described = [
            f"{name} ({each['description'].rstrip('.')}{'' if name in needed else '; optional'})"
            for name, each in schema["properties"].items()
        ]
        return ", ".join(described) or "no arguments"


def _releases(client: AdminClient, arguments: ReleaseArguments) -> Mapping[str, Any]:
    if arguments.release is msgspec.UNSET:
        return dict(client.get("/api/releases"))
    return dict(without_quotes(client.get(f"/api/releases/{quote(str(arguments.release))}")))


def _status(client: AdminClient, arguments: NoArguments) -> Mapping[str, Any]:
    return brief_status(client.get("/api/status"))


def _report(client: AdminClient, arguments: CanaryArguments) -> Mapping[str, Any]:
    return dict(without_quotes(client.get(f"/api/canaries/{_path(arguments.canary)}/report")))


def _why(client: AdminClient, arguments: WhyArguments) -> Mapping[str, Any]:
    if arguments.unit is not msgspec.UNSET:
        return _why_this_arm(client, arguments.canary, str(arguments.unit))
    found = client.get(f"/api/canaries/{_path(arguments.canary)}/rollbacks", limit=_MOST_ROLLBACKS)
    state = client.get("/api/status")["canaries"]
    now = next((each["state"] for each in state if each["name"] == arguments.canary), "not in the config")
    return explained(arguments.canary, now, [explained_rollback(each) for each in found])


def _why_this_arm(client: AdminClient, canary: str, unit: str) -> Mapping[str, Any]:
    every = client.get("/api/explain", unit=unit)["canaries"]
    for each in every:
        if each["canary"] == canary:
            return dict(each)
    names = ", ".join(each["canary"] for each in every) or "none"
    raise NotReached(f"the config has no canary {canary!r}; it has: {names}")


def _path(name: str) -> str:
    return quote(name, safe="")


TOOLS = (
    McpTool(
        name="releases",
        description="Lists the releases (a candidate model against the current one), newest first, each with "
        "its state, verdict and decision. With `release`: everything that is known of one.",
        arguments=ReleaseArguments,
        answer=_releases,
    ),
    McpTool(
        name="status",
        description="Shows every canary of the config: state, share, both arms' figures, guardrails, "
        "rollback; what does not work at the moment.",
        arguments=NoArguments,
        answer=_status,
    ),
    McpTool(
        name="report",
        description="Judges one canary by its rubric now: verdict, reasons, each metric with its interval. "
        "May take seconds.",
        arguments=CanaryArguments,
        answer=_report,
    ),
    McpTool(
        name="why",
        description="Explains why a canary was rolled back: the rule, the figures and the evidence, newest "
        "first. With `unit`: which arm that unit gets, and why.",
        arguments=WhyArguments,
        answer=_why,
    ),
)
