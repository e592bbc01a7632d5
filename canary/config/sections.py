"""The keys of `canary.yaml` and their types. `checks` has the rules between keys."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue

from alerts.rules.rule import Action, RuleName
from bench.settings import CRITERIA, Layer
from canary.config.field_types import (
    AnyDuration,
    AnyShare,
    BoundText,
    ConfigSection,
    Duration,
    KeyDigests,
    LaneSize,
    LastDayText,
    LimitText,
    ListenAddress,
    MappedNumber,
    MaybeText,
    NotNegative,
    Positive,
    Risk,
    Scale,
    Share,
    Text,
    TimeText,
    TimeZone,
    Weight,
    WindowText,
)
from canary.config.quantity import DEFAULT_ADMIN, DEFAULT_TRAFFIC
from canary.config.server import MOST_WORKERS, Role
from proxy.dialects.operation import Api
from proxy.providers.provider import Auth, Kind
from records.facts.metric import MetricKind, Per
from routing.canary import SETTLE_AT_MOST_S, SETTLE_S, SessionSource, UnitSource
from verdict.terms.plan import STANDARD_RISK
from verdict.terms.rubric import DEFAULT_PLANNED_UNITS


def _written(text: str, default: Any, description: str) -> Any:
    """A field whose default stands in the schema as a file has it."""
    return _optional(description, default, json_schema_extra={"default": text})


def _optional(description: str, default: Any = None, **more: Any) -> Any:
    """A field that need not be given, and is this then."""
    return Field(default, description=description, **more)


class TimeoutSection(ConfigSection):
    """Time limits of one upstream attempt."""

    connect_s: Duration | None = _optional("Time to connect, including TLS. Default 5s.")
    write_s: Duration | None = _optional("Time without progress while sending the request. Default 60s.")
    first_byte_s: Duration | None = _optional(
        "Time to a stream's first byte. JSON answers are limited by total."
    )
    idle_s: Duration | None = _optional("Time between two chunks of a stream. Default 60s.")
    total_s: Duration | None = _optional("Time for the whole answer. Default 600s.")


class ProviderSection(ConfigSection):
    """An LLM provider, or any server with the same wire API."""

    api: Api = Field(description="The provider's wire API.")
    base_url: Text = Field(description="The base URL, as its SDK would take it.")
    api_key: MaybeText = _optional(
        "The key to send instead of the caller's. Without api_key, the caller's is sent."
    )
    kind: Kind = _optional(
        "The cloud that serves the API, which has URLs of its own. `plain`: the API's own URLs.", "plain"
    )
    auth: Auth | None = _optional(
        "How the entry's credential is sent; `azure`, `aws` and `google` fetch tokens. "
        "Default: what the API and the kind take."
    )
    project: MaybeText = _optional("`kind: vertex` only: the project of its URLs.")
    region: MaybeText = _optional("The region: in Vertex's URLs, and of the signature for Bedrock.")
    stream_usage: Literal["ask", "leave"] = _optional(
        "Whether streams are asked for usage. `leave` for a provider that refuses stream_options.", "ask"
    )
    forward_headers: tuple[Text, ...] = _optional(
        "Headers of callers that steer other gateways and go on to this provider: a name, or a "
        "family such as `x-portkey-*`.",
        (),
    )
    timeout: TimeoutSection | None = _optional("Time limits of requests to this provider.")
    ca_file: MaybeText = _optional("A PEM file of certificate authorities, used instead of the system's.")


class MatchSection(ConfigSection):
    """Which requests the canary takes. A request must match every condition that is given."""

    models: tuple[Text, ...] = _optional("The request's model is one of these.", ())
    paths: tuple[Text, ...] = _optional("The request's path is one of these.", ())
    headers: dict[Text, str] = _optional("The request has these headers with these values.", {})
    tags: dict[Text, str] = _optional("`x-canary-tags` has these tags with these values.", {})


class RequestSection(ConfigSection):
    """How an arm's request differs from the caller's: rename, then remove, set and default."""

    rename: dict[Text, Text] = _optional("Members that take another name, with their value.", {})
    remove: tuple[Text, ...] = _optional("Members that this model refuses.", ())
    set: dict[Text, JsonValue] = _optional("Members given or replaced.", {})
    default: dict[Text, JsonValue] = _optional("Members given where the request has none.", {})


class ArmTextSection(ConfigSection):
    """A text of an arm. A value alone is the file, whose text is read with the config."""

    file: Text = Field(description="The file, beside the config; with a `text` only its name.")
    text: str = Field(description="The text, as `canary show` prints it.")


def _file_alone(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


ArmText = Annotated[
    ArmTextSection, BeforeValidator(_file_alone, json_schema_input_type=Text | ArmTextSection)
]


class PromptSection(ConfigSection):
    """An arm's own prompt. Every request of the canary must have the text of `find`."""

    find: ArmText = Field(description="The file with the text of the caller's prompt that is replaced.")
    put: ArmText = Field(description="The file with the text in its place.")


def _required(schema: dict[str, Any]) -> None:
    del schema["default"]


class ArmSection(ConfigSection):
    """One arm: a provider entry and a model."""

    provider: Text = Field(description="The name of an entry under `providers`.")
    model: Text = _optional(
        "The model to request from the provider. Only a standing canary's candidate has none.",
        "",
        json_schema_extra=_required,
    )
    request: RequestSection | None = _optional(
        "How this arm's request differs from the caller's. A dot in a name goes one level down."
    )
    name: MaybeText = _optional("What people call the arm. Default: by what it differs.")
    prompt: PromptSection | None = _optional(
        "The text that replaces one of the caller's, wherever that stands in the prompt."
    )
    tools: dict[Text, ArmText] = _optional(
        "The files with another description of the tools of these names.", {}
    )
    timeout: TimeoutSection | None = _optional("Time limits of this arm; those not given are the provider's.")
    patience_s: Duration | None = _optional(
        "Candidate only: how long a request waits for it before the baseline answers. "
        "Default: from the baseline's times."
    )


class UntilSection(ConfigSection):
    """What a step of a ramp waits for."""

    users: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        description="How many of the candidate's users must have had an outcome in this step."
    )


class StepSection(ConfigSection):
    """One step of a ramp. It ends once all that it names is reached; the last one lasts."""

    share: Share = Field(description="The candidate's share of the units in this step.")
    for_s: Duration | None = _optional(
        "How long the step lasts at least. All but the last need it, or `until`."
    )
    until: UntilSection | None = _optional("The evidence that the step waits for.")


class HoldbackSection(ConfigSection):
    """Users who keep the baseline for a while after a promotion."""

    share: Share = Field(description="Their share of the units, at most half.")
    for_s: Duration = Field(description="How long they keep it, for example 7d.")
    rollback: bool = _optional(
        "Whether guardrails roll the promoted arm back in that time. Else they page.", False
    )


class GuardrailSection(ConfigSection):
    """A rule that warns, pages or rolls back. Keys not given are those of the default rule of that name."""

    rule: RuleName | None = _optional("The rule's name. Give either rule or metric.")
    metric: Text | None = _optional(
        "The metric, built in or declared, in which the candidate must not be worse."
    )
    limit: LimitText | None = _optional(
        "The limit, in the rule's own unit; of a metric how far below the baseline (`10%`), or "
        "a factor of it (`1.5x`)."
    )
    window: WindowText | None = _optional("The time window, or `run` for the whole run.")
    minimum: Annotated[int, Field(ge=1, le=10_000)] | None = _optional(
        "The minimum number of exchanges, raters or units."
    )
    action: Action | None = _optional("What the rule does when the limit is crossed.")
    category: MaybeText = _optional("Count only exchanges of this category.")
    segment: dict[Text, Text] | None = _optional(
        "Count only exchanges with this tag, for example `region: eu`."
    )

    @property
    def name(self) -> str:
        """The rule's or the metric's name; "" for none."""
        return self.metric or self.rule or ""


class CriterionSection(ConfigSection):
    """One row of the rubric."""

    metric: Text = Field(description="A feedback metric or a computed metric.")
    acceptable: BoundText = Field(description="The gate: a worse value fails the criterion.")
    ideal: BoundText = Field(description="The value that counts as very good.")
    weight: Weight = Field(
        description="The row's part of the score, 40 or 40%. It cannot outweigh a failed gate."
    )
    question: Text = Field(description="The business question it answers.")
    risk: Risk | None = _optional(
        "How often a candidate exactly at this row's bound may ship; by default the canary's."
    )
    minimum_days: NotNegative | None = _optional(
        "The days that must pass before this row may help to ship; by default the canary's. The "
        "verdict waits for the row with the most."
    )
    assisted: Literal["judge"] | None = _optional(
        "`judge`: of `csat` or `task_completed`, the judge's marks of answers, or of sessions, "
        "stand for the ratings that nobody gave. Fixed at the start."
    )


def _named_or_list(value: object) -> object:
    if value == "default":
        return None
    if not isinstance(value, list):
        raise ValueError("must be `default`, a list of rules, or [] for none")
    return value


def _name_the_default(schema: dict[str, Any]) -> None:
    """Show the default set by its name in the schema; null, its value here, is not allowed in the file."""
    schema["default"] = "default"
    schema["anyOf"] = [{"const": "default"}, *(kind for kind in schema["anyOf"] if kind["type"] != "null")]


class CaptureSection(ConfigSection):
    """Which exchanges have their texts stored, redacted, for making datasets."""

    rate: AnyShare = _written("0%", 0.0, "The share of exchanges to store.")
    per_category: int = _optional(
        "How many exchanges of each category to store each day before `rate` applies.", 0, ge=0, le=1000
    )
    expires_after_s: Duration = _written("30d", 30 * 86400.0, "When the texts are deleted.")
    redact: tuple[Text, ...] = _optional(
        "Regular expressions for further text to redact, beside the built-in patterns.", ()
    )


class ModelCaptureSection(CaptureSection):
    """Which exchanges of models that no canary takes have their texts stored."""

    models: tuple[Text, ...] = Field(min_length=1, description="The models that requests name.")


class CanaryJudgeSection(ConfigSection):
    """What the judge looks at of this canary. Give pairs, answers or sessions."""

    pairs: Annotated[int, Field(ge=1)] | None = _optional(
        "How many mirrored pairs to judge in a day, evenly over the categories."
    )
    answers: Annotated[int, Field(ge=1)] | None = _optional(
        "Without `mirror`: how many single answers of both arms to mark in a day."
    )
    sessions: Annotated[int, Field(ge=1)] | None = _optional(
        "How many whole sessions of both arms to mark in a day, at random."
    )
    criteria: Text = _optional("What makes an answer good, in words for the judge.", CRITERIA)


class ExpectSection(ConfigSection):
    """What is expected of the users, for the plan until it is measured."""

    users: Annotated[int, Field(ge=1)] | None = _optional(
        "Users of both arms in the planned days. Default: 20,000 in 14 days."
    )
    requests: Annotated[float, Field(ge=1, le=1e6)] | None = _optional("Mean requests of a user. Default: 3.")
    rated: AnyShare | None = _optional("The share of requests that a user rates. Default: one in eight.")
    categories: dict[Text, AnyShare] = _optional(
        "Of critical categories, the share of the users who are in them. Default: 10%.", {}
    )


class CanarySection(ConfigSection):
    """One rollout under test."""

    name: Text = Field(description="The canary's name; use a new name for each rollout.")
    standing: bool = _optional(
        "These are the terms of every next candidate, and split nothing: each is begun by its "
        "name (`canary begin`).",
        False,
    )
    owner: MaybeText = _optional("Who decides about the canary: a name or an address.")
    match: MatchSection = Field(description="Which requests the canary takes.")
    baseline: ArmSection = Field(description="The arm that serves users today.")
    candidate: ArmSection = Field(description="The arm under test.")
    share: Share | None = _optional("The candidate's share of the units. Give either share or ramp.")
    ramp: tuple[StepSection, ...] | None = _optional("Shares that rise over time.", min_length=1)
    assignment: Literal["hash", "header"] = _optional(
        "What decides a unit's arm: canary's hash, or a flag system, which signs the arm in "
        "`x-canary-assignment`.",
        "hash",
    )
    lane: LaneSize | None = _optional(
        "The part of the units, where other canaries match the same requests; fixed at the "
        "start. Default: equal parts of what the others leave."
    )
    on_candidate_failure: Literal["baseline", "error"] = _optional(
        "What the caller gets if the candidate fails before the first byte.", "baseline"
    )
    mirror: AnyShare = _written(
        "0%", 0.0, "The share of the baseline's requests to copy to the candidate. The answers are dropped."
    )
    capture: CaptureSection | None = _optional(
        "Store the redacted texts of some exchanges. Without it, no text is stored."
    )
    judge: CanaryJudgeSection | None = _optional(
        "What the judge looks at of this canary. Without it, no answer is judged."
    )
    unit: tuple[UnitSource, ...] = _optional(
        "Where to look for the unit, in order.", ("header", "body", "session"), min_length=1
    )
    session: tuple[SessionSource, ...] = _optional(
        "Where to look for the session, in order.", ("header", "harness", "metadata", "body"), min_length=1
    )
    no_unit: Literal["baseline", "random"] = _optional(
        "Which arm serves a request without a unit.", "baseline"
    )
    start: Literal["auto", "manual"] = _optional("`manual` waits for `canary start`.", "auto")
    settle_s: AnyDuration = _written(
        "30m",
        SETTLE_S,
        "How long a user must be idle before a change of share moves them; `0s` moves everybody at once.",
    )
    settle_at_most_s: AnyDuration = _written(
        "4h", SETTLE_AT_MOST_S, "How long a change of share waits for a user at most."
    )
    holdback: HoldbackSection | None = _optional(
        "Who keeps the baseline for a while after a promotion. Without it, nobody."
    )
    promoted_by: Literal["one_person", "two_people"] = _optional(
        "`two_people`: one person asks to promote the candidate, another carries it out.",
        "one_person",
        alias="promote",
    )
    segments: tuple[Text, ...] = _optional(
        "The tags by which the report breaks down its figures and guardrails locate failures.", ()
    )
    critical_categories: tuple[Text, ...] = _optional(
        "Categories in which a loss blocks the verdict. They have guardrails of their own.", ()
    )
    critical_segments: tuple[Text, ...] = _optional(
        "Segments, for example `plan=enterprise`, in which a loss blocks the verdict. They have "
        "guardrails of their own.",
        (),
    )
    minimum_days: NotNegative = _optional("Days that must pass before the verdict can be to ship.", 7.0)
    planned_days: int | None = _optional(
        "The days by which the verdict is to be reached; fixed at the start. By default 14, "
        "or `minimum_days` if that is more, and the rubric's longest `matures_after`; with `minimum_days: 0` "
        "it is 0: no plan, a verdict at any time.",
        ge=0,
    )
    risk: Risk = _written(
        "standard",
        STANDARD_RISK,
        "How often a candidate exactly at a bound may ship; fixed at the start: `strict` (2.5%), "
        "`standard` (5%), `light` (20%), `red_flags` (50%), or a share up to 50%.",
    )
    planned_units: int = _optional(
        "The number of candidate units at which the intervals are tightest.", DEFAULT_PLANNED_UNITS, ge=1
    )
    expect: ExpectSection | None = _optional("What the plan expects of the users until it is measured.")
    guardrails: Annotated[tuple[GuardrailSection, ...] | None, BeforeValidator(_named_or_list)] = _optional(
        "`default`, a list of rules, or [] for none.", json_schema_extra=_name_the_default
    )
    rubric: tuple[CriterionSection, ...] = _optional("The criteria of the verdict, fixed before the run.", ())


class CallerSection(ConfigSection):
    """One team or app that may call the proxy, with a key of its own."""

    name: Text = Field(description="The caller's name, stored with each of its requests.")
    key_sha256: KeyDigests = Field(
        description="The SHA-256 of its key, 64 hex digits; a list of two while a key is replaced."
    )
    providers: tuple[Text, ...] | None = _optional(
        "The provider entries that it may call. Default: all.", min_length=1
    )
    models: tuple[Text, ...] | None = _optional(
        "Patterns of the models that it may ask for, for example `gpt-4o*`. Default: all.", min_length=1
    )
    requests_per_minute: Annotated[int, Field(ge=1)] | None = _optional(
        "How many requests each worker lets through in a minute. Default: no limit."
    )


class MetricSection(ConfigSection):
    """A feedback metric that apps may report, or with `cost_per` what each event of one costs."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["kind"]}, {"required": ["cost_per"]}]},
    )

    kind: MetricKind | None = _optional("The kind of its values. Required without cost_per.")
    per: Per | None = _optional(
        "What one observation is: a value that somebody gave, or every exposed exchange, session "
        "or user, which is 0 without a value. Default: value."
    )
    cost_per: MaybeText = _optional(
        "The metric by whose events an arm's cost is divided: a bool or count per exchange, session or user."
    )
    scale: Scale | None = _optional("The lowest and highest value.")
    higher_is_better: bool = _optional("Whether a higher value is better.", True)
    question: Text = Field(description="The business question it answers.")
    matures_after_s: AnyDuration = _written(
        "0s", 0.0, "How long after a unit's first exposure its value is complete."
    )


class MappedValueSection(ConfigSection):
    """Where a member of feedback comes from. A text alone is the column."""

    column: Text | None = _optional(
        "The column of a CSV, or the dotted path into an event's JSON.", alias="from"
    )
    scale: Positive = _optional("What the column's number is multiplied by.", 1.0)
    values: dict[Text, MappedNumber] = _optional(
        "The value of each text of the column, in any case. Other texts have none.", {}
    )
    value: MappedNumber | None = _optional("A constant, in place of a column. Default: true.")
    when: Text | None = _optional("The column that must not be empty for the constant.")


def _column_alone(value: object) -> object:
    return {"from": value} if isinstance(value, str) else value


def _text_alone(value: object) -> object:
    return [value] if isinstance(value, str) else value


class FeedbackMappingSection(ConfigSection):
    """How the rows of another system's export, or the events of its webhook, become feedback."""

    only: dict[
        Text,
        Annotated[
            tuple[Text, ...],
            BeforeValidator(_text_alone, json_schema_input_type=Text | tuple[Text, ...]),
            Field(min_length=1),
        ],
    ] = _optional("Use only rows of which each of these columns has one of these texts.", {})
    map: dict[
        Text,
        Annotated[
            MappedValueSection,
            BeforeValidator(_column_alone, json_schema_input_type=Text | MappedValueSection),
        ],
    ] = Field(description="Where each member and each metric comes from.")


class PriceSection(ConfigSection):
    """A model's prices, in dollars per million tokens."""

    input: NotNegative = Field(description="Input tokens.")
    cached_input: NotNegative | None = _optional("Input tokens read from the provider's cache.")
    cache_write: NotNegative | None = _optional("Input tokens written to the provider's cache.")
    output: NotNegative = Field(description="Output tokens, including reasoning.")


class PricesSection(ConfigSection):
    """Prices by model, and how the list of all other models is kept up to date."""

    model_config = ConfigDict(extra="allow")
    # How pydantic wants it: https://docs.pydantic.dev/latest/concepts/models/#extra-data
    __pydantic_extra__: dict[str, PriceSection] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    update: Literal["daily"] | None = _optional("Fetch the newest price list once a day.")
    source: MaybeText = _optional(
        "A price list of one's own: a URL, or a file beside this one.", alias="from"
    )

    @property
    def models(self) -> Mapping[str, PriceSection]:
        """The prices of the config's own."""
        return self.__pydantic_extra__


class DatasetSection(ConfigSection):
    """A file of examples for `canary bench`."""

    file: Text = Field(description="The file's path, relative to the config file.")
    layer: Layer = Field(description="Whether the examples were made up or came from users.")
    floor: Share | None = _optional("The lowest acceptable share of correct answers.")
    judge: MaybeText = _optional(
        "The model that marks examples of the task `judge`, as PROVIDER/MODEL. Default: the config's."
    )
    confidence: Literal["logprobs"] | None = _optional(
        "Ask the models for log probabilities, and split the results by confidence."
    )


class EmbeddingsSection(ConfigSection):
    """The model whose embeddings score answers of the task `similar`."""

    provider: Text = Field(
        description="The name of its entry under `providers`, of OpenAI's or Gemini's API."
    )
    model: Text = Field(description="The model's name there.")


class JudgeSection(ConfigSection):
    """The model that judges real answers."""

    provider: Text = Field(description="The name of an entry under `providers`.")
    model: Text = Field(description="The model, which is in neither arm of what it judges.")
    daily_budget_usd: Positive = Field(description="The dollars that it may cost in a UTC day.")
    at_once: Annotated[int, Field(ge=1, le=64)] = _optional("How many pairs or answers it judges at once.", 4)


class ProbesSection(ConfigSection):
    """The models that are asked fixed prompts each day, to notice when they answer otherwise."""

    models: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        description="The models, as MODEL or PROVIDER/MODEL."
    )
    prompts: Literal["built-in"] = _optional("The prompts: thirty short ones.", "built-in")
    daily_budget_usd: Positive = Field(description="The dollars that all probes may cost in a UTC day.")


class PagerDutySection(ConfigSection):
    """PagerDuty's Events API v2."""

    key: Text = Field(description="The integration's routing key.")
    url: MaybeText = _optional("The endpoint, if not PagerDuty's own.")


class NotifySection(ConfigSection):
    """One receiver of incidents, of exactly one kind."""

    alertmanager: Text | None = _optional("Alertmanager's base URL.")
    pagerduty: PagerDutySection | None = _optional("A PagerDuty service.")
    slack: Text | None = _optional("A Slack incoming webhook's URL.")
    webhook: Text | None = _optional("A URL that receives the incident as JSON.")
    apprise: Text | None = _optional(
        "A URL of the library Apprise. Where it has {owner}, owners get what they decide."
    )


class ReportJobSection(ConfigSection):
    """When each running canary's report is made and stored."""

    at: TimeText = Field(description="The time of day, by the wall clock of the time zone.")
    timezone: TimeZone = _optional("A name of the IANA database.", "UTC")


class OidcSection(ConfigSection):
    """The sign-in by OpenID Connect."""

    issuer: Text = Field(description="The provider's issuer, exactly as the provider calls itself.")
    client_id: Text = Field(description="The client that the provider knows canary as.")
    client_secret: Text = Field(
        description="That client's secret, for example ${OIDC_CLIENT_SECRET}.", repr=False
    )
    viewers: tuple[Text, ...] = _optional("Groups who may see, but change nothing and read no texts.", ())
    operators: tuple[Text, ...] = _optional("Groups who may do everything.", ())


class TlsSection(ConfigSection):
    """The certificate of both listeners."""

    cert_file: Text = Field(
        description="The certificate and its chain (PEM); the path is relative to the config file."
    )
    key_file: Text = Field(
        description="Its private key (PEM), without a passphrase; the path is relative to the config file."
    )


class RubricFileSection(ConfigSection):
    """A file with only `rubric:`, whose rows are as in canary.yaml."""

    rubric: Annotated[tuple[CriterionSection, ...], Field(min_length=1)]


class FileSection(ConfigSection):
    """The whole file."""

    providers: dict[str, ProviderSection] = _optional(
        "LLM providers by name. The first entry of an API is its default.", {}
    )
    canaries: tuple[CanarySection, ...] = _optional("The rollouts under test.", ())
    metrics: dict[str, MetricSection] = _optional("Feedback metrics in addition to the built-in ones.", {})
    feedback_mappings: dict[str, FeedbackMappingSection] = _optional(
        "How exports and webhooks of other systems become feedback, by name.", {}
    )
    capture: tuple[ModelCaptureSection, ...] = _optional(
        "Store the redacted texts of some exchanges of models that no canary takes.", ()
    )
    tags: tuple[Text, ...] | None = _optional(
        "The tags that apps may send. Default: the tags that canaries use."
    )
    callers: tuple[CallerSection, ...] = _optional(
        "Who may call the traffic listener. Without callers: whoever reaches it.", ()
    )
    prices: PricesSection = Field(
        default_factory=lambda: PricesSection.model_validate({}),
        description="Dollars per million tokens, by model. These override the built-in prices.",
    )
    price_as: dict[Text, Text] = _optional(
        "Models that cost what another model costs, for example an Azure deployment's name.", {}
    )
    datasets: dict[Text, DatasetSection] = _optional("Datasets for `canary bench`, by name.", {})
    embeddings: EmbeddingsSection | None = _optional(
        "The embedding model that scores the task `similar`. Default: shared words do."
    )
    judge: JudgeSection | None = _optional("The model that judges real answers.")
    probes: ProbesSection | None = _optional(
        "Fixed prompts, asked each day, that notice when a model answers otherwise."
    )
    redact: tuple[Text, ...] = _optional(
        "Regular expressions for further text to redact wherever texts are stored.", ()
    )
    store: Text = _optional("The database's URL.", "sqlite:///canary.db")
    outcomes: MaybeText = _optional(
        "Where outcomes lie as Parquet files: a folder, s3://…, gs://…, az://…, or `store`, the "
        "database. Default: the folder `outcomes` in the data folder; with `shared`, `store`."
    )
    shared: Text = _optional("The Redis that replicas share, or `none`.", "none")
    notify: tuple[NotifySection, ...] = _optional("The receivers of incidents.", ())
    retires: dict[Text, LastDayText] = _optional(
        "When each model retires, and its successor, where its provider's list does not say it.", {}
    )
    admin_url: MaybeText = _optional("The URL at which people open the page; incidents link to it.")
    oidc: OidcSection | None = _optional(
        "Where people sign in to the page with their own names, and which groups may."
    )
    retention_s: Duration = _written("90d", 90 * 86400.0, "How long outcomes are stored.")
    report_job: ReportJobSection | None = _optional("When each running canary's daily report is made.")
    traffic: ListenAddress = _written("127.0.0.1:8080", DEFAULT_TRAFFIC, "The traffic listener's address.")
    admin: ListenAddress = _written("127.0.0.1:8081", DEFAULT_ADMIN, "The admin listener's address.")
    tls: TlsSection | None = _optional(
        "Speak TLS on both listeners, with this certificate. Default: HTTP without TLS."
    )
    workers: int = _optional("The number of traffic worker processes.", 1, ge=1, le=MOST_WORKERS)
    data: Text = _optional("The data folder, beside this file.", "canary-data")
    grace_s: AnyDuration = _written("600s", 600.0, "How long streams may drain after SIGTERM.")
    body_budget_mib: int = _optional(
        "MiB of request bodies that a worker holds at most; further ones are told 503.", 512, ge=64
    )
    role: Role = _optional("Which processes run here.", "all")
