"""Checks of the parsed file outside its canaries: names, URLs, scales, receivers, callers, sign-in.

No entry may send a caller's key to its provider; nobody on the way may read a sign-in.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from urllib.parse import urlsplit

from alerts.incidents import apprise_receiver
from alerts.incidents.notice import OWNER
from canary.config.canary_checks import check_canaries, check_model, check_tag
from canary.config.conversion import declared_metrics, own_auth_of, segment
from canary.config.part_checks import (
    check_captures,
    check_judge,
    check_kind,
    check_mappings,
    check_probes,
    wrong_with_name,
)
from canary.config.quantity import CANARY_NAME, COMPUTED, METRIC_NAME, is_loopback, nearest, suggestion
from canary.config.schema import CheckedDocument
from canary.config.sections import (
    CanarySection,
    FileSection,
    MetricSection,
    NotifySection,
    ProviderSection,
)
from console.access.openid_settings import is_private
from proxy.dialects.operation import Api
from proxy.providers.headers import STEERING, STEERING_FAMILIES, steers
from proxy.providers.provider import CLOUD_AUTH, Auth, Kind
from records.facts.metric import BUILT_IN, JUDGED, Metric, is_offline
from records.shared.segment_folder import IN_STORE, OBJECT_STORES, ObjectStore
from routing.caller import TAG

RESERVED = ("v1", "v1beta", "v1beta1", "canary", "healthz", "readyz")
"""First path segments of the traffic listener that cannot be a provider's name."""

_PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_OPERATION = re.compile(
    r"(?P<before>.*?)(?P<version>/v1(?:beta\d*|alpha)?)?/"
    r"(?:chat/completions|completions|responses|responses/compact|embeddings|messages|messages/count_tokens|models|models/[^/]+:\w+)"
)
"""The path of an API's operation. `version` belongs to the base URL of OpenAI's API only."""

_PATHS: Mapping[tuple[Api, str], str] = {
    ("openai", "api.openai.com"): "/v1",
    ("openai", "eu.api.openai.com"): "/v1",
    ("openai", "us.api.openai.com"): "/v1",
    ("openai", "api.anthropic.com"): "/v1",
    ("openai", "generativelanguage.googleapis.com"): "/v1beta/openai",
    ("openai", "openrouter.ai"): "/api/v1",
    ("openai", "api.groq.com"): "/openai/v1",
    ("openai", "api.mistral.ai"): "/v1",
    ("openai", "api.x.ai"): "/v1",
    ("openai", "api.together.xyz"): "/v1",
    ("openai", "api.together.ai"): "/v1",
    ("openai", "api.fireworks.ai"): "/inference/v1",
    ("openai", "api.cerebras.ai"): "/v1",
    ("anthropic", "api.anthropic.com"): "",
    ("gemini", "generativelanguage.googleapis.com"): "",
}
"""The path of a base URL at hosts that answer every other with 404. Others, such as api.deepseek.com, take
more than one, and nobody knows what a server of one's own takes."""

_AT_ROOT = ("api.deepseek.com", "api.perplexity.ai")
"""Hosts with OpenAI's API at their root."""
_VERSION = re.compile(r"/v1(?:beta\d*|alpha)?$")
_VARIABLE = re.compile(r"\$?([A-Z][A-Z0-9_]*_(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)S?)|\$([A-Za-z_]\w*)")
"""The name of a variable, as in a shell."""
SECRET = 16
"""No provider's keys are shorter."""

_MACHINES_AUTH: Mapping[Kind, Auth] = {"azure": "azure", "bedrock": "aws", "vertex": "google"}

_OF_VALUES = ("kind", "per", "scale", "higher_is_better", "matures_after_s")
"""The fields of a metric whose values are reported. One with `cost_per` has none of them."""

_STORES = ("sqlite", "postgresql", "postgresql+psycopg", "postgresql+asyncpg")


def check(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem and warning of a file that has passed the schema."""
    _check_providers(file, found)
    _check_metrics(file, found)
    for index, name in enumerate(file.tags or ()):
        check_tag(name, found.below("tags", index))
    check_mappings(file, found)
    check_captures(file, found)
    check_judge(file, found)
    check_probes(file, found)
    _check_datasets(file, found)
    _check_embeddings(file, found)
    _check_price_as(file, found)
    _check_prices(file, found)
    _check_notify(file, found)
    _check_url(file.admin_url, found.below("admin_url"))
    check_oidc(file, found)
    _check_places(file, found)
    check_callers(file, found)
    check_canaries(file, found)


def _check_providers(file: FileSection, found: CheckedDocument) -> None:
    if not found.names("providers"):
        found.complain("is missing; name at least one provider", "providers")
    for name in found.names("providers"):
        here = found.below("providers", name)
        if name in RESERVED:
            here.complain_of_name(f'"{name}" is a reserved path; choose another name')
        elif not _PROVIDER_NAME.fullmatch(name):
            here.complain_of_name(
                "a provider's name may contain lower-case letters, digits, _ and -, at most 63"
            )
        elif taken := wrong_with_name(name, file.providers):
            here.complain_of_name(taken)
    for name, provider in file.providers.items():
        here = found.below("providers", name)
        check_kind(provider, here)
        _check_base_url(provider.base_url, provider.api, provider.kind, here.below("base_url"))
        _check_key(name, provider, here)
        for place, header in enumerate(provider.forward_headers):
            if wrong := _wrong_with_forwarded(header.lower()):
                here.complain(wrong, "forward_headers", place)
        if wrong := _wrong_with_auth(provider):
            here.complain(wrong, "auth")
        elif provider.kind == "bedrock" and own_auth_of(provider) is None:
            here.below("auth").warn(
                "the caller's key is sent; a caller that signs (SigV4) will be refused, because it signs for "
                "this proxy's host: for such callers remove `auth`, or set api_key"
            )


def _check_key(name: str, provider: ProviderSection, here: CheckedDocument) -> None:
    """Record a variable's name that would be sent as the key, and warn of another host's key that stands in
    the file."""
    key = provider.api_key
    entry = here.document.root.children["providers"].children[name].children.get("api_key")
    if key is None or entry is None or entry.refers:
        return
    if variable := _VARIABLE.fullmatch(key):
        here.complain(
            f'is sent as it stands; for the value of this variable write "${{{variable[1] or variable[2]}}}"',
            "api_key",
        )
    elif len(key) >= SECRET and not is_loopback(urlsplit(provider.base_url).hostname or ""):
        here.below("api_key").warn(
            "is the key itself, which whoever reads the file has; write the name of a variable that holds "
            f'it, "${{{name.upper().replace("-", "_")}_API_KEY}}"'
        )


def _wrong_with_auth(provider: ProviderSection) -> str | None:
    """Why this `auth` cannot be; a cloud's tokens are for that cloud only."""
    auth = provider.auth
    if auth not in CLOUD_AUTH:
        return None
    if provider.api_key is not None:
        return f"`{auth}` fetches tokens; remove api_key, or set `auth` to the header that takes the key"
    if auth == "aws" and provider.kind != "bedrock":
        return "`aws` signs requests to Bedrock only; set `kind: bedrock`"
    if provider.kind != "plain" and auth != _MACHINES_AUTH[provider.kind]:
        return (
            f"`{auth}` is not a credential for `kind: {provider.kind}`; set `{_MACHINES_AUTH[provider.kind]}`"
        )
    return None


def _wrong_with_forwarded(header: str) -> str | None:
    """Why this header need not or cannot be listed: only those that steer other gateways can be."""
    families = [f"{each}*" for each in STEERING_FAMILIES]
    if header in families or ("*" not in header and steers(header)):
        return None
    return (
        f'"{header}" steers no other gateway, and headers that do not need no listing; list '
        f"{', '.join(families)}, one header of these families, or {', '.join(sorted(STEERING))}"
    )


def _check_base_url(url: str, api: Api, kind: Kind, here: CheckedDocument) -> None:
    """Record the problems of a base URL. Messages never quote a user or password."""
    if wrong := _wrong_with_url(url):
        return here.complain(wrong)
    parts = urlsplit(url)
    own, usual = parts.path.rstrip("/"), _PATHS.get((api, parts.hostname or ""))
    if parts.username is not None or parts.password is not None:
        here.complain("must not contain a user or password; put the credential in api_key")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        here.complain("must end with its path; remove ? or # and what follows")
    elif kind != "plain":
        if own:
            root = f"{parts.scheme}://{parts.netloc}"
            here.complain(
                f'is below the root of its host, and canary adds the paths of {kind}; write "{root}"'
            )
    elif below := _OPERATION.fullmatch(own):
        path = parts.path[: below.end("version" if api == "openai" and below["version"] else "before")]
        right = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path if usual is None else usual}"
        here.complain(f'is the URL of one operation, and canary adds its path itself; write "{right}"')
    elif usual is None and api != "openai" and (version := _VERSION.search(own)) is not None:
        right = f"{parts.scheme}://{parts.netloc}{own[: version.start()]}"
        here.warn(f'ends in {version[0]}, and canary adds the version itself; write "{right}"')
    elif usual is None and api == "openai" and not own and parts.hostname not in _AT_ROOT:
        right = f"{parts.scheme}://{parts.netloc}/v1"
        here.warn(
            "has no path, and nearly every server with OpenAI's API answers below /v1 only; write "
            f'"{right}", unless this one has it at its root (`canary doctor` asks it)'
        )
    elif usual not in (None, own):
        right = f"{parts.scheme}://{parts.netloc}{usual}"
        here.complain(f'is not where this host has its API, so each request would get 404; write "{right}"')
    return None


def _wrong_with_url(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bad port or IPv6 host
        usable = False
    if usable and not re.search(r"\s", url):
        return None
    return "must be a URL with http:// or https:// and a host"


def _check_metrics(file: FileSection, found: CheckedDocument) -> None:
    for name in found.names("metrics"):
        here = found.below("metrics", name)
        if name in COMPUTED:
            here.complain_of_name(f'"{name}" is computed from the traffic; choose another name')
        elif name in JUDGED:
            here.complain_of_name(f'"{name}" is what a judge measures; choose another name')
        elif is_offline(name):
            here.complain_of_name(f'"{name}" is measured by benchmarks; choose another name')
        elif not METRIC_NAME.fullmatch(name):
            message = "a metric's name may contain lower-case letters, digits and _, and starts with a letter"
            here.complain_of_name(message)
    known = declared_metrics(file)
    for name, section in file.metrics.items():
        here = found.below("metrics", name)
        if here.was_cut("kind") or (section.cost_per and found.cut_below("metrics", section.cost_per)):
            continue
        if section.cost_per:
            _check_cost(section, section.cost_per, known, here)
        else:
            _check_values(section, here)
        _warn_of_opinion(name, known[name], here)


def _warn_of_opinion(name: str, metric: Metric, here: CheckedDocument) -> None:
    """Warn of an entry that turns a built-in event into the mean of the values that are sent."""
    event = BUILT_IN.get(name)
    if event is not None and event.is_event and not metric.is_event and not metric.cost_per:
        here.warn(
            f"redefines {name}, which is per {event.per}, per value: where your app sends only what happens, "
            f"write `per: {event.per}`"
        )


def _check_values(section: MetricSection, here: CheckedDocument) -> None:
    """Record every mistake in a metric whose values are reported."""
    if section.kind is None:
        here.complain("is missing; only a metric with `cost_per` has none", "kind")
    if section.scale is not None and section.kind in ("bool", "nps"):
        ends = "0-1" if section.kind == "bool" else "0-10"
        here.complain(f"a {section.kind} metric always has the scale {ends}; remove `scale`", "scale")
    if section.kind in ("rating", "nps") and section.per not in (None, "value"):
        message = f"a {section.kind} is an opinion, and who gave none has none; write `per: value`"
        here.complain(message, "per")


def _check_cost(
    section: MetricSection, name: str, known: Mapping[str, Metric], here: CheckedDocument
) -> None:
    """Record every mistake in a metric that is what each event of the metric `name` costs."""
    for field in _OF_VALUES:
        if field in section.model_fields_set:
            message = "cannot be combined with cost_per, whose values are dollars, lower is better; remove it"
            here.complain(message, field.removesuffix("_s"))
    here = here.below("cost_per")
    if (counted := known.get(name)) is None:
        here.complain(f'"{name}" is not a built-in or declared metric{suggestion(name, list(known))}')
    elif counted.cost_per or counted.kind not in ("bool", "count"):
        what = "a cost itself" if counted.cost_per else f"of the kind {counted.kind}"
        here.complain(f'"{name}" is {what}, and has no number of events; name a bool or a count')
    elif not counted.is_event:
        here.complain(
            f'"{name}" is per value, so nobody knows how often it happened; declare it with `per: session`, '
            "`per: user` or `per: exchange`"
        )


def _check_datasets(file: FileSection, found: CheckedDocument) -> None:
    for name, section in file.datasets.items():
        provider = (section.judge or "").partition("/")[0]
        if section.judge is not None and provider not in found.names("providers"):
            near = suggestion(provider, found.names("providers"))
            message = f"must be PROVIDER/MODEL, with a provider from `providers`{near}"
            found.complain(message, "datasets", name, "judge")


def _check_embeddings(file: FileSection, found: CheckedDocument) -> None:
    if file.judge is not None:
        check_model(file.judge.model, found.below("judge", "model"))
    section = file.embeddings
    if section is None:
        return
    check_model(section.model, found.below("embeddings", "model"))
    here = found.below("embeddings", "provider")
    here.must_know_provider(section.provider)
    entry = file.providers.get(section.provider)
    if entry is not None and (entry.kind != "plain" or entry.api not in ("openai", "gemini")):
        what = f"api: {entry.api}" if entry.kind == "plain" else f"kind: {entry.kind}"
        here.complain(
            f"canary asks OpenAI's and Gemini's own APIs for embeddings, not `{what}`; name such an entry"
        )


def _check_price_as(file: FileSection, found: CheckedDocument) -> None:
    for model, other in file.price_as.items():
        if model in file.prices.models:
            found.complain_of_name(
                f'"{model}" has a price in `prices`; remove one of them', "price_as", model
            )
        elif other in file.price_as:
            message = f'"{other}" is itself priced as "{file.price_as[other]}"; write a model with a price'
            found.complain(message, "price_as", model)


def _check_prices(file: FileSection, found: CheckedDocument) -> None:
    """Check where the list comes from, and warn of a price for a model that nothing in the file names, and
    that no standing canary may begin: probably a misspelt one."""
    arms = {arm.model for canary in file.canaries for arm in (canary.baseline, canary.candidate)}
    matched = {model for canary in file.canaries for model in canary.match.models}
    judges = {(section.judge or "").partition("/")[2] for section in file.datasets.values()}
    helpers = {each.model for each in (file.embeddings, file.judge) if each is not None}
    helpers |= {name.rpartition("/")[2] for name in (file.probes.models if file.probes else ())}
    section = file.prices
    if section.source is not None and section.update is None and not found.was_cut("prices", "update"):
        found.complain("needs `update: daily` beside it", "prices", "from")
    if section.source is not None and "://" in section.source:
        _check_url(section.source, found.below("prices", "from"))
    coming = any(canary.standing for canary in file.canaries)  # models that are begun by their names
    for model in section.models:
        if arms and not coming and model not in {*arms, *matched, *judges, *helpers, *file.price_as.values()}:
            meant = nearest(model, arms - section.models.keys())
            near = f'; did you mean "{meant}"?' if meant is not None else ""
            found.warn(f'no arm has the model "{model}"{near}', "prices", model)


def _check_notify(file: FileSection, found: CheckedDocument) -> None:
    for index, section in enumerate(file.notify):
        here = found.below("notify", index)
        kinds = [kind for kind, value in section if value is not None]
        if not kinds and not here.cut_below():
            here.complain(f"names no receiver; set one of {', '.join(NotifySection.model_fields)}")
        if len(kinds) > 1:
            here.complain(f"names {' and '.join(kinds)}; each receiver needs its own entry")
        for kind in ("alertmanager", "slack", "webhook"):
            _check_url(getattr(section, kind), here.below(kind))
        if section.pagerduty is not None:
            _check_url(section.pagerduty.url, here.below("pagerduty", "url"))
        if section.apprise is not None:
            _check_apprise(section.apprise, file, here.below("apprise"))


def _check_apprise(url: str, file: FileSection, here: CheckedDocument) -> None:
    scheme, separator, _ = url.partition("://")
    if not separator:
        form = "mailto://mail.example.com/{owner}?from=canary@example.com"
        return here.complain(f"must be a URL of Apprise, such as {form}")
    if not apprise_receiver.is_installed():
        here.warn(f"sends nothing: {apprise_receiver.NOT_INSTALLED}")
    if OWNER not in url:
        return None
    if not any(each.owner for each in file.canaries):
        here.warn("reaches nobody: no canary has an `owner`")
    if scheme in ("mailto", "mailtos"):
        for index, each in enumerate(file.canaries):
            if each.owner and "@" not in each.owner:
                message = f"must be an address for notify's mail to {OWNER}"
                here.root.warn(message, "canaries", index, "owner")
    return None


def _check_url(url: str | None, here: CheckedDocument) -> None:
    if url is not None and (wrong := _wrong_with_url(url)):
        here.complain(wrong)


def _names_a_database(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.path.strip("/")) and (parts.port is None or parts.port > 0)
    except ValueError:  # the port is not a number, or a bracket is not closed
        return False


def _misplaced(outcomes: str, shared: str) -> str:
    """What is wrong with this place for outcomes; "" for a good one."""
    if outcomes.startswith(OBJECT_STORES):
        try:
            ObjectStore.at(outcomes)
        except ValueError as problem:
            return str(problem)
        return ""
    if "://" in outcomes:
        return "must be a folder, s3://BUCKET/…, gs://BUCKET/…, az://CONTAINER/…?account=NAME, or store"
    if outcomes.startswith("~"):
        return "~ is not expanded; write the absolute path, for example /home/canary/outcomes"
    if str(PurePath(outcomes)) in (".", "/"):
        return "needs a folder of its own; write outcomes, for one in the data folder, or its absolute path"
    if outcomes == IN_STORE or shared == "none" or outcomes.startswith("/"):
        return ""
    return (
        "a relative folder is in each replica's own data folder, and with `shared` all need the same place; "
        "write s3://BUCKET/PREFIX (or gs://, az://), the absolute path of a disk that they share, or store, "
        "which has the database keep the outcomes"
    )


def _check_places(file: FileSection, found: CheckedDocument) -> None:
    """Check the store, the places and the listeners. `config.roles` checks whether they fit the role."""
    scheme, separator, rest = file.store.partition("://")
    if scheme not in _STORES or not separator or not rest.strip("/"):
        found.complain("must be sqlite:///FILE or postgresql://…", "store")
    elif scheme != "sqlite" and not _names_a_database(file.store):
        found.complain(
            "must be postgresql://USER:PASSWORD@HOST:PORT/NAME; escape @ : / as %40 %3A %2F", "store"
        )
    if file.shared != "none" and not file.shared.startswith(("redis://", "rediss://")):
        found.complain("must be none, redis://… or rediss://…", "shared")
    if file.outcomes is not None and (message := _misplaced(file.outcomes, file.shared)):
        found.complain(message, "outcomes")
    if file.traffic == file.admin and file.traffic.port != 0:
        found.complain("is also the traffic listener's address; set a different one", "admin")


def check_callers(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem of the callers; without callers only that an empty list keeps nobody out."""
    if not file.callers:
        if "callers" in file.model_fields_set and not found.cut_below("callers"):
            message = "the list is empty, so the traffic listener asks nobody for a key; name who may call"
            found.warn(message, "callers")
        return
    _check_names(file, found)
    _check_keys(file, found)
    _check_entries(file, found)
    for index, name in enumerate(file.tags or ()):
        if name == TAG:
            message = f"`{TAG}` is set by canary from `callers`, and apps cannot send it; remove it here"
            found.complain(message, "tags", index)
    names = [caller.name for caller in file.callers]
    for index, canary in enumerate(file.canaries):
        for place, name in _named(canary, found.below("canaries", index)):
            if name not in names:
                place.warn(f'there is no caller "{name}"{suggestion(name, names)}')


def _check_names(file: FileSection, found: CheckedDocument) -> None:
    seen: set[str] = set()
    for index, caller in enumerate(file.callers):
        here = found.below("callers", index, "name")
        if not CANARY_NAME.fullmatch(caller.name):
            here.complain("a caller's name may contain letters, digits, . _ and -, at most 63")
        elif caller.name in seen:
            here.complain(
                f'two callers are named "{caller.name}"; for a second key of the same caller, put both '
                "digests into one `key_sha256: [old, new]`, and for another caller choose another name"
            )
        seen.add(caller.name)


def _check_keys(file: FileSection, found: CheckedDocument) -> None:
    owners: dict[str, str] = {}
    for index, caller in enumerate(file.callers):
        for digest in caller.key_sha256:
            if digest in owners:
                message = f"is a key of {owners[digest]} already; each caller needs a key of its own"
                found.complain(message, "callers", index, "key_sha256")
            owners[digest] = caller.name


def _check_entries(file: FileSection, found: CheckedDocument) -> None:
    """Each entry of a caller exists, and every entry has a credential of its own: the caller's is no key
    there."""
    for index, caller in enumerate(file.callers):
        for place, name in enumerate(caller.providers or ()):
            found.must_know_provider(name, "callers", index, "providers", place)
    for name, provider in file.providers.items():
        here = found.below("providers", name)
        if own_auth_of(provider) is None and not here.cut_below():
            here.complain(
                "has no credential of its own, and a caller's key is good for this proxy only; set "
                f"providers.{name}.api_key, or `auth: azure`, `aws` or `google` where it is that cloud's"
            )


def _named(canary: CanarySection, here: CheckedDocument) -> Iterator[tuple[CheckedDocument, str]]:
    """The callers that a canary names, each with its place."""
    if TAG in canary.match.tags:
        yield here.below("match", "tags", TAG), canary.match.tags[TAG]
    for place, text in enumerate(canary.critical_segments):
        tag, value = segment(text)
        if tag == TAG:
            yield here.below("critical_segments", place), value
    for place, rule in enumerate(canary.guardrails or ()):
        if TAG in (rule.segment or {}):
            yield here.below("guardrails", place, "segment", TAG), (rule.segment or {})[TAG]


_TLS = "must begin with https://; http:// only works on this machine"


def check_oidc(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem of `oidc`, and of `admin_url` for it."""
    if file.oidc is None:
        return
    here = found.below("oidc")
    if not file.oidc.viewers and not file.oidc.operators:
        here.complain("lets nobody in; name groups in `viewers` or `operators`")
    if file.admin_url is None:
        here.complain("needs `admin_url`, to which the provider sends people back")
    elif not is_private(file.admin_url):
        found.complain(f"{_TLS}, and with `oidc` a session begins there", "admin_url")
    if not is_private(file.oidc.issuer):
        here.complain(_TLS, "issuer")
    elif urlsplit(file.oidc.issuer).query or urlsplit(file.oidc.issuer).fragment:
        here.complain("must end with its path; remove ? or # and what follows", "issuer")
