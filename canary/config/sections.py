"""The shape of `canary.yaml`: which keys it has, of which type. What they mean together is in `checks`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from alerts.rule import Action, RuleName
from bench.source import Layer
from canary.config.fields import (
    AnyDuration,
    AnyShare,
    BoundText,
    Duration,
    LimitText,
    ListenAddress,
    MaybeText,
    NotNegative,
    Positive,
    Scale,
    Section,
    Share,
    Text,
    WindowText,
)
from canary.config.quantity import DEFAULT_ADMIN, DEFAULT_TRAFFIC
from canary.config.server import MOST_WORKERS, Role
from proxy.provider import Api
from records.metric import MetricKind
from report.rubric import DEFAULT_PLANNED_UNITS
from routing.canary import UnitSource


class TimeoutSection(Section):
    """How long an upstream attempt may take."""

    connect_s: Duration | None = Field(
        None, alias="connect", description="To connect, TLS included. Default 5s."
    )
    write_s: Duration | None = Field(
        None, alias="write", description="Without progress while the request is sent. Default 60s."
    )
    first_byte_s: Duration | None = Field(
        None, alias="first_byte", description="To a stream's first byte; JSON is bound by total."
    )
    idle_s: Duration | None = Field(
        None, alias="idle", description="Between two pieces of a stream. Default 60s."
    )
    total_s: Duration | None = Field(None, alias="total", description="For the whole answer. Default 600s.")


class ProviderSection(Section):
    """An LLM provider, or anything that speaks its wire API."""

    api: Api = Field(description="The wire API it speaks.")
    base_url: Text = Field(description="Where its SDK's base URL would point.")
    api_key: MaybeText = Field(
        None, description="Sent in place of the caller's. Without it the caller's passes."
    )
    timeout: TimeoutSection | None = Field(None, description="How long its answers may take.")
    ca_file: MaybeText = Field(
        None, description="A PEM file of certificate authorities, in place of the system's."
    )


class MatchSection(Section):
    """Which requests the canary takes. Every part that is given must hold."""

    models: tuple[Text, ...] = Field((), description="The model the caller asks for is one of these.")
    paths: tuple[Text, ...] = Field((), description="The request's path is one of these.")
    headers: dict[Text, str] = Field({}, description="The request has these headers, with these values.")
    tags: dict[Text, str] = Field({}, description="`x-canary-tags` has these tags, with these values.")


class ArmSection(Section):
    """One arm: a provider entry and the model that is asked of it."""

    provider: Text = Field(description="The name of an entry under `providers`.")
    model: Text = Field(description="The model value that is sent.")
    timeout: TimeoutSection | None = Field(
        None, description="The arm's own times; others are the provider's."
    )


class StepSection(Section):
    """One step of a ramp."""

    share: Share = Field(description="The candidate's part of the units in this step.")
    for_s: Duration | None = Field(None, alias="for", description="How long; the last step may leave it out.")


class GuardrailSection(Section):
    """A rule that warns, pages or rolls back. What is left out is as in the default rule of that name."""

    rule: RuleName = Field(description="Which rule.")
    limit: LimitText | None = Field(None, description="Where it trips, in the rule's own unit.")
    window: WindowText | None = Field(None, description="How far back it looks, or `run` for the whole run.")
    minimum: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Fewest exchanges, raters or units."
    )
    action: Action | None = Field(None, description="What happens when it trips.")
    category: MaybeText = Field(None, description="Only exchanges of this category.")
    segment: dict[Text, Text] | None = Field(
        None, description="Only exchanges with this tag, as `region: eu`."
    )


class CriterionSection(Section):
    """One row of the rubric."""

    metric: Text = Field(description="A feedback metric, or one that is computed.")
    acceptable: BoundText = Field(description="The gate: worse than this is a failed criterion.")
    ideal: BoundText = Field(description="What would be very good.")
    weight: Positive = Field(description="Its part of the score. Never outvotes a failed gate.")
    question: Text = Field(description="The business question it answers.")


def _named_or_list(value: object) -> object:
    if value == "default":
        return None
    if not isinstance(value, list):
        raise ValueError("must be `default`, a list of rules, or [] for none")
    return value


def _name_the_default(schema: dict[str, Any]) -> None:
    """In the file the default set is named; null, which stands for it here, is refused there."""
    schema["default"] = "default"
    schema["anyOf"] = [{"const": "default"}, *(each for each in schema["anyOf"] if each["type"] != "null")]


class CaptureSection(Section):
    """Which exchanges' texts are kept, redacted, for making datasets."""

    rate: AnyShare = Field(
        0.0, description="Part of the exchanges that is kept.", json_schema_extra={"default": "0%"}
    )
    per_category: int = Field(
        0, ge=0, le=1000, description="How many of each category and day are kept before the rate's draw."
    )
    expires_after_s: Duration = Field(
        30 * 86400.0,
        alias="expires_after",
        description="When they are deleted.",
        json_schema_extra={"default": "30d"},
    )
    redact: tuple[Text, ...] = Field(
        (), description="Regular expressions of what is taken out beside the usual."
    )


class CanarySection(Section):
    """One rollout under test."""

    name: Text = Field(description="Its name, new for each rollout.")
    match: MatchSection = Field(description="Which requests it takes.")
    baseline: ArmSection = Field(description="The arm that serves today.")
    candidate: ArmSection = Field(description="The arm under test.")
    share: Share | None = Field(None, description="The candidate's part of the units. Either this or `ramp`.")
    ramp: tuple[StepSection, ...] | None = Field(
        None, min_length=1, description="Shares that rise with time."
    )
    on_candidate_failure: Literal["baseline", "error"] = Field(
        "baseline", description="Who answers when the candidate fails before the first byte."
    )
    mirror: AnyShare = Field(
        0.0,
        description="Part of the baseline's requests also sent to the candidate; those answers are dropped.",
        json_schema_extra={"default": "0%"},
    )
    capture: CaptureSection | None = Field(
        None, description="Keep some exchanges' texts, redacted. Without it no text is kept."
    )
    unit: tuple[UnitSource, ...] = Field(
        ("header", "body", "session"),
        min_length=1,
        description="Where the sticky unit is looked for, in order.",
    )
    no_unit: Literal["baseline", "random"] = Field(
        "baseline", description="Who serves a request without a unit."
    )
    start: Literal["auto", "manual"] = Field("auto", description="`manual` waits for `canary start`.")
    segments: tuple[Text, ...] = Field((), description="The tags by which the report splits its figures.")
    critical_categories: tuple[Text, ...] = Field(
        (), description="Categories in which a loss blocks the verdict."
    )
    critical_segments: tuple[Text, ...] = Field(
        (), description="Segments, as `plan=enterprise`, in which a loss blocks the verdict."
    )
    minimum_days: NotNegative = Field(7.0, description="No verdict but extend before this many days.")
    planned_units: int = Field(
        DEFAULT_PLANNED_UNITS, ge=1, description="Candidate units that the intervals are tuned for."
    )
    guardrails: Annotated[tuple[GuardrailSection, ...] | None, BeforeValidator(_named_or_list)] = Field(
        None,
        description="`default`, a list of rules, or [] for none.",
        json_schema_extra=_name_the_default,
    )
    rubric: tuple[CriterionSection, ...] = Field((), description="What decides, fixed before the run.")


class MetricSection(Section):
    """A feedback metric that apps may report."""

    kind: MetricKind = Field(description="What its values are.")
    scale: Scale | None = Field(None, description="Lowest and highest value.")
    higher_is_better: bool = Field(True, description="Whether a higher value is a better one.")
    question: Text = Field(description="The business question it answers.")
    matures_after_s: AnyDuration = Field(
        0.0,
        alias="matures_after",
        description="How long after first exposure a value is complete.",
        json_schema_extra={"default": "0s"},
    )


class PriceSection(Section):
    """A model's prices, in dollars per million tokens."""

    input: NotNegative = Field(description="Input tokens.")
    cached_input: NotNegative | None = Field(None, description="Input tokens read from the provider's cache.")
    cache_write: NotNegative | None = Field(None, description="Input tokens written to the provider's cache.")
    output: NotNegative = Field(description="Output tokens, reasoning included.")


class DatasetSection(Section):
    """A file of examples that `canary bench` measures models by."""

    file: Text = Field(description="The file, relative to this one.")
    layer: Layer = Field(description="Whether somebody made the examples up, or users asked them.")
    floor: Share | None = Field(
        None, description="The share of right answers below which a model will not do."
    )
    judge: MaybeText = Field(
        None, description="The model that gives marks, as PROVIDER/MODEL, for examples of the task `judge`."
    )


class PagerDutySection(Section):
    """PagerDuty's Events API v2."""

    key: Text = Field(description="The integration's routing key.")
    url: MaybeText = Field(None, description="Another address than PagerDuty's own.")


class NotifySection(Section):
    """One receiver of incidents: exactly one of the kinds."""

    alertmanager: Text | None = Field(None, description="Alertmanager's base URL.")
    pagerduty: PagerDutySection | None = Field(None, description="A PagerDuty service.")
    slack: Text | None = Field(None, description="A Slack incoming webhook's URL.")
    webhook: Text | None = Field(None, description="A URL that takes the incident as JSON.")


class FileSection(Section):
    """Everything one `canary.yaml` says."""

    providers: dict[str, ProviderSection] = Field({}, description="LLM providers by name; the order counts.")
    canaries: tuple[CanarySection, ...] = Field((), description="The rollouts under test.")
    metrics: dict[str, MetricSection] = Field({}, description="Feedback metrics beside the built-in ones.")
    tags: tuple[Text, ...] | None = Field(
        None, description="The tags apps may send; by default those in use."
    )
    prices: dict[Text, PriceSection] = Field({}, description="Prices by model, over the built-in table.")
    datasets: dict[Text, DatasetSection] = Field({}, description="Examples by name, for `canary bench`.")
    store: Text = Field("sqlite:///canary.db", description="The database of outcomes.")
    shared: Text = Field("none", description="Redis for several replicas, or `none`.")
    notify: tuple[NotifySection, ...] = Field((), description="Who is paged.")
    admin_url: MaybeText = Field(None, description="Where people reach the page; a page to them links there.")
    retention_s: Duration = Field(
        90 * 86400.0,
        alias="retention",
        description="How long outcomes are kept.",
        json_schema_extra={"default": "90d"},
    )
    traffic: ListenAddress = Field(
        DEFAULT_TRAFFIC, description="The traffic listener.", json_schema_extra={"default": "127.0.0.1:8080"}
    )
    admin: ListenAddress = Field(
        DEFAULT_ADMIN, description="The admin listener.", json_schema_extra={"default": "127.0.0.1:8081"}
    )
    workers: int = Field(1, ge=1, le=MOST_WORKERS, description="Traffic worker processes.")
    data: Text = Field("./canary-data", description="The data folder.")
    grace_s: AnyDuration = Field(
        600.0,
        alias="grace",
        description="How long SIGTERM lets streams drain.",
        json_schema_extra={"default": "600s"},
    )
    role: Role = Field("all", description="Which of the processes run here.")
