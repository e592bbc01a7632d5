"""Checks of the parsed file outside its canaries: names, URLs, scales, receivers, callers, sign-in.

No entry may send a caller's key to its provider; nobody on the way may read a sign-in.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from urllib.parse import urlsplit

from alerts.incidents import apprise_receiver
from alerts.incidents.notice import OWNER
from canary.config.canary_checks import check_canaries
from canary.config.conversion import declared_metrics, own_auth_of
from canary.config.errors import Path
from canary.config.part_checks import (
    check_captures,
    check_judge,
    check_kind,
    check_mappings,
    check_probes,
    wrong_with_name,
)
from canary.config.quantity import CANARY_NAME, COMPUTED, METRIC_NAME, TAG_NAME, nearest, suggestion
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
    r"(?:chat/completions|completions|responses|embeddings|messages|messages/count_tokens|models|models/[^/]+:\w+)"
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

_MACHINES_AUTH: Mapping[Kind, Auth] = {"azure": "azure", "bedrock": "aws", "vertex": "google"}

_OF_VALUES = {
    "kind": "kind",
    "per": "per",
    "scale": "scale",
    "higher_is_better": "higher_is_better",
    "matures_after_s": "matures_after",
}
"""The fields of a metric whose values are reported, with their keys. One with `cost_per` has none of them."""

_STORES = ("sqlite", "postgresql", "postgresql+psycopg", "postgresql+asyncpg")


def check(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem and warning of a file that has passed the schema."""
    _check_providers(file, found)
    _check_metrics(file, found)
    for index, name in enumerate(file.tags or ()):
        if not TAG_NAME.fullmatch(name):
            found.complain(
                ("tags", index), f'"{name}" is not a valid tag name; use letters, digits, . _ and -'
            )
    check_mappings(file, found)
    check_captures(file, found)
    check_judge(file, found)
    check_probes(file, found)
    _check_datasets(file, found)
    _check_embeddings(file, found)
    _check_price_as(file, found)
    _check_prices(file, found)
    _check_notify(file, found)
    _check_url(file.admin_url, ("admin_url",), found)
    check_oidc(file, found)
    _check_places(file, found)
    check_callers(file, found)
    check_canaries(file, found)


def _check_providers(file: FileSection, found: CheckedDocument) -> None:
    if not found.names("providers"):
        found.complain(("providers",), "is missing; name at least one provider")
    for name in found.names("providers"):
        if name in RESERVED:
            found.complain_of_name(("providers", name), f'"{name}" is a reserved path; choose another name')
        elif not _PROVIDER_NAME.fullmatch(name):
            message = "a provider's name may contain lower-case letters, digits, _ and -, at most 63"
            found.complain_of_name(("providers", name), message)
        elif taken := wrong_with_name(name, file.providers):
            found.complain_of_name(("providers", name), taken)
    for name, provider in file.providers.items():
        check_kind(name, provider, found)
        for message in _wrong_with_base_url(provider.base_url, provider.api, provider.kind):
            found.complain(("providers", name, "base_url"), message)
        for place, header in enumerate(provider.forward_headers):
            if wrong := _wrong_with_forwarded(header.lower()):
                found.complain(("providers", name, "forward_headers", place), wrong)
        if wrong := _wrong_with_auth(provider):
            found.complain(("providers", name, "auth"), wrong)
        elif provider.kind == "bedrock" and own_auth_of(provider) is None:
            message = (
                "the caller's key is sent; a caller that signs (SigV4) will be refused, because it signs for "
                "this proxy's host: for such callers remove `auth`, or set api_key"
            )
            found.warn(("providers", name, "auth"), message)


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


def _wrong_with_base_url(url: str, api: Api, kind: Kind) -> Iterator[str]:
    """The problems of a base URL. Messages never quote a user or password."""
    wrong = _wrong_with_url(url)
    if wrong:
        yield wrong
        return
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        yield "must not contain a user or password; put the credential in api_key"
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        yield "must end with its path; remove ? or # and what follows"
    elif kind != "plain":
        if parts.path.strip("/"):
            root = f"{parts.scheme}://{parts.netloc}"
            yield f'is below the root of its host, and canary adds the paths of {kind}; write "{root}"'
    elif below := _OPERATION.fullmatch(parts.path.rstrip("/")):
        path = parts.path[: below.end("version" if api == "openai" and below["version"] else "before")]
        path = _PATHS.get((api, parts.hostname or ""), path)
        right = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
        yield f'is the URL of one operation, and canary adds its path itself; write "{right}"'
    elif _PATHS.get((api, parts.hostname or ""), parts.path.rstrip("/")) != parts.path.rstrip("/"):
        right = f"{parts.scheme}://{parts.netloc}{_PATHS[api, parts.hostname or '']}"
        yield f'is not where this host has its API, so each request would get 404; write "{right}"'


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
        path = ("metrics", name)
        if name in COMPUTED:
            found.complain_of_name(path, f'"{name}" is computed from the traffic; choose another name')
        elif name in JUDGED:
            found.complain_of_name(path, f'"{name}" is what a judge measures; choose another name')
        elif is_offline(name):
            found.complain_of_name(path, f'"{name}" is measured by benchmarks; choose another name')
        elif not METRIC_NAME.fullmatch(name):
            message = "a metric's name may contain lower-case letters, digits and _, and starts with a letter"
            found.complain_of_name(path, message)
    known = declared_metrics(file)
    for name, section in file.metrics.items():
        path = ("metrics", name)
        counts = section.cost_per and ("metrics", section.cost_per)
        if found.was_cut((*path, "kind")) or (counts and found.cut_below(counts)):
            continue
        wrong = _wrong_with_cost(section, known) if section.cost_per else _wrong_with_values(section)
        for key, message in wrong:
            found.complain((*path, *key), message)
        _warn_of_opinion(name, known[name], found)


def _warn_of_opinion(name: str, metric: Metric, found: CheckedDocument) -> None:
    """Warn of an entry that turns a built-in event into the mean of the values that are sent."""
    event = BUILT_IN.get(name)
    if event is not None and event.is_event and not metric.is_event and not metric.cost_per:
        message = (
            f"redefines {name}, which is per {event.per}, per value: where your app sends only what happens, "
            f"write `per: {event.per}`"
        )
        found.warn(("metrics", name), message)


def _wrong_with_values(section: MetricSection) -> Iterator[tuple[Path, str]]:
    """Every mistake in a metric whose values are reported: its key, () for the whole entry, and a message."""
    if section.kind is None:
        yield ("kind",), "is missing; only a metric with `cost_per` has none"
    if section.scale is not None and section.kind in ("bool", "nps"):
        ends = "0-1" if section.kind == "bool" else "0-10"
        yield ("scale",), f"a {section.kind} metric always has the scale {ends}; remove `scale`"
    if section.kind in ("rating", "nps") and section.per not in (None, "value"):
        yield (
            ("per",),
            f"a {section.kind} is an opinion, and who gave none has none; write `per: value`",
        )


def _wrong_with_cost(section: MetricSection, known: Mapping[str, Metric]) -> Iterator[tuple[Path, str]]:
    """Every mistake in a metric that is what each event of another one costs."""
    for field, key in _OF_VALUES.items():
        if field in section.model_fields_set:
            yield (
                (key,),
                "cannot be combined with cost_per, whose values are dollars, lower is better; remove it",
            )
    name = section.cost_per or ""
    if (counted := known.get(name)) is None:
        yield ("cost_per",), f'"{name}" is not a built-in or declared metric{suggestion(name, list(known))}'
    elif counted.cost_per or counted.kind not in ("bool", "count"):
        what = "a cost itself" if counted.cost_per else f"of the kind {counted.kind}"
        yield ("cost_per",), f'"{name}" is {what}, and has no number of events; name a bool or a count'
    elif not counted.is_event:
        yield (
            ("cost_per",),
            f'"{name}" is per value, so nobody knows how often it happened; declare it with `per: session`, '
            "`per: user` or `per: exchange`",
        )


def _check_datasets(file: FileSection, found: CheckedDocument) -> None:
    for name, section in file.datasets.items():
        provider = (section.judge or "").partition("/")[0]
        if section.judge is not None and provider not in found.names("providers"):
            message = "must be PROVIDER/MODEL, with a provider from `providers`"
            found.complain(("datasets", name, "judge"), f"{message}{_or(provider, found)}")


def _check_embeddings(file: FileSection, found: CheckedDocument) -> None:
    section = file.embeddings
    if section is None:
        return
    path = ("embeddings", "provider")
    entry = file.providers.get(section.provider)
    if section.provider not in found.names("providers"):
        found.complain(path, f"is not in `providers`{_or(section.provider, found)}")
    elif entry is not None and (entry.kind != "plain" or entry.api not in ("openai", "gemini")):
        what = f"api: {entry.api}" if entry.kind == "plain" else f"kind: {entry.kind}"
        found.complain(
            path,
            f"canary asks OpenAI's and Gemini's own APIs for embeddings, not `{what}`; name such an entry",
        )


def _or(provider: str, found: CheckedDocument) -> str:
    return suggestion(provider, list(found.names("providers")))


def _check_price_as(file: FileSection, found: CheckedDocument) -> None:
    for model, other in file.price_as.items():
        if model in file.prices.models:
            found.complain_of_name(
                ("price_as", model), f'"{model}" has a price in `prices`; remove one of them'
            )
        elif other in file.price_as:
            message = f'"{other}" is itself priced as "{file.price_as[other]}"; write a model with a price'
            found.complain(("price_as", model), message)


def _check_prices(file: FileSection, found: CheckedDocument) -> None:
    """Check where the list comes from, and warn of a price for a model that nothing in the file names, and
    that no standing canary may begin: probably a misspelt one."""
    arms = {arm.model for canary in file.canaries for arm in (canary.baseline, canary.candidate)}
    matched = {model for canary in file.canaries for model in canary.match.models}
    judges = {(section.judge or "").partition("/")[2] for section in file.datasets.values()}
    helpers = {each.model for each in (file.embeddings, file.judge) if each is not None}
    helpers |= {name.rpartition("/")[2] for name in (file.probes.models if file.probes else ())}
    section = file.prices
    if section.source is not None and section.update is None and not found.was_cut(("prices", "update")):
        found.complain(("prices", "from"), "needs `update: daily` beside it")
    if section.source is not None and "://" in section.source:
        _check_url(section.source, ("prices", "from"), found)
    coming = any(canary.standing for canary in file.canaries)  # models that are begun by their names
    for model in section.models:
        if arms and not coming and model not in {*arms, *matched, *judges, *helpers, *file.price_as.values()}:
            meant = nearest(model, arms - section.models.keys())
            near = f'; did you mean "{meant}"?' if meant is not None else ""
            found.warn(("prices", model), f'no arm has the model "{model}"{near}')


def _check_notify(file: FileSection, found: CheckedDocument) -> None:
    for index, section in enumerate(file.notify):
        path: Path = ("notify", index)
        kinds = [kind for kind, value in section if value is not None]
        if not kinds and not found.cut_below(path):
            found.complain(path, f"names no receiver; set one of {', '.join(NotifySection.model_fields)}")
        if len(kinds) > 1:
            found.complain(path, f"names {' and '.join(kinds)}; each receiver needs its own entry")
        for kind in ("alertmanager", "slack", "webhook"):
            _check_url(getattr(section, kind), (*path, kind), found)
        if section.pagerduty is not None:
            _check_url(section.pagerduty.url, (*path, "pagerduty", "url"), found)
        if section.apprise is not None:
            _check_apprise(section.apprise, (*path, "apprise"), file, found)


def _check_apprise(url: str, path: Path, file: FileSection, found: CheckedDocument) -> None:
    scheme, separator, _ = url.partition("://")
    if not separator:
        form = "mailto://mail.example.com/{owner}?from=canary@example.com"
        return found.complain(path, f"must be a URL of Apprise, such as {form}")
    if not apprise_receiver.is_installed():
        found.warn(path, f"sends nothing: {apprise_receiver.NOT_INSTALLED}")
    if OWNER not in url:
        return None
    if not any(each.owner for each in file.canaries):
        found.warn(path, "reaches nobody: no canary has an `owner`")
    if scheme in ("mailto", "mailtos"):
        for index, each in enumerate(file.canaries):
            if each.owner and "@" not in each.owner:
                found.warn(("canaries", index, "owner"), f"must be an address for notify's mail to {OWNER}")
    return None


def _check_url(url: str | None, path: Path, found: CheckedDocument) -> None:
    if url is not None and (wrong := _wrong_with_url(url)):
        found.complain(path, wrong)


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
        found.complain(("store",), "must be sqlite:///FILE or postgresql://…")
    elif scheme != "sqlite" and not _names_a_database(file.store):
        found.complain(
            ("store",), "must be postgresql://USER:PASSWORD@HOST:PORT/NAME; escape @ : / as %40 %3A %2F"
        )
    if file.shared != "none" and not file.shared.startswith(("redis://", "rediss://")):
        found.complain(("shared",), "must be none, redis://… or rediss://…")
    if file.outcomes is not None and (message := _misplaced(file.outcomes, file.shared)):
        found.complain(("outcomes",), message)
    if file.traffic == file.admin and file.traffic.port != 0:
        found.complain(("admin",), "is also the traffic listener's address; set a different one")


def check_callers(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem of the callers; without callers only that an empty list keeps nobody out."""
    if not file.callers:
        if "callers" in file.model_fields_set and not found.cut_below(("callers",)):
            message = "the list is empty, so the traffic listener asks nobody for a key; name who may call"
            found.warn(("callers",), message)
        return
    _check_names(file, found)
    _check_keys(file, found)
    _check_entries(file, found)
    for index, name in enumerate(file.tags or ()):
        if name == TAG:
            message = f"`{TAG}` is set by canary from `callers`, and apps cannot send it; remove it here"
            found.complain(("tags", index), message)
    names = [caller.name for caller in file.callers]
    for place, name in _named(file.canaries):
        if name not in names:
            found.warn(place, f'there is no caller "{name}"{suggestion(name, names)}')


def _check_names(file: FileSection, found: CheckedDocument) -> None:
    seen: set[str] = set()
    for index, caller in enumerate(file.callers):
        path = ("callers", index, "name")
        if not CANARY_NAME.fullmatch(caller.name):
            found.complain(path, "a caller's name may contain letters, digits, . _ and -, at most 63")
        elif caller.name in seen:
            message = (
                f'two callers are named "{caller.name}"; for a second key of the same caller, put both '
                "digests into one `key_sha256: [old, new]`, and for another caller choose another name"
            )
            found.complain(path, message)
        seen.add(caller.name)


def _check_keys(file: FileSection, found: CheckedDocument) -> None:
    owners: dict[str, str] = {}
    for index, caller in enumerate(file.callers):
        for digest in caller.key_sha256:
            if digest in owners:
                message = f"is a key of {owners[digest]} already; each caller needs a key of its own"
                found.complain(("callers", index, "key_sha256"), message)
            owners[digest] = caller.name


def _check_entries(file: FileSection, found: CheckedDocument) -> None:
    """Each entry of a caller exists, and every entry has a credential of its own: the caller's is no key
    there."""
    for index, caller in enumerate(file.callers):
        for place, name in enumerate(caller.providers or ()):
            found.must_know_provider(("callers", index, "providers", place), name)
    for name, provider in file.providers.items():
        path: Path = ("providers", name)
        if own_auth_of(provider) is None and not found.cut_below(path):
            message = (
                "has no credential of its own, and a caller's key is good for this proxy only; set "
                f"providers.{name}.api_key, or `auth: azure`, `aws` or `google` where it is that cloud's"
            )
            found.complain(path, message)


def _named(canaries: tuple[CanarySection, ...]) -> Iterator[tuple[Path, str]]:
    """The callers that canaries name, each with its place."""
    for index, canary in enumerate(canaries):
        path: Path = ("canaries", index)
        if TAG in canary.match.tags:
            yield (*path, "match", "tags", TAG), canary.match.tags[TAG]
        for place, text in enumerate(canary.critical_segments):
            tag, _, value = (part.strip() for part in text.partition("="))
            if tag == TAG:
                yield (*path, "critical_segments", place), value
        for place, rule in enumerate(canary.guardrails or ()):
            if TAG in (rule.segment or {}):
                yield (*path, "guardrails", place, "segment", TAG), (rule.segment or {})[TAG]


_TLS = "must begin with https://; http:// only works on this machine"


def check_oidc(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem of `oidc`, and of `admin_url` for it."""
    if file.oidc is None:
        return
    path = ("oidc",)
    if not file.oidc.viewers and not file.oidc.operators:
        found.complain(path, "lets nobody in; name groups in `viewers` or `operators`")
    if file.admin_url is None:
        found.complain(path, "needs `admin_url`, to which the provider sends people back")
    elif not is_private(file.admin_url):
        found.complain(("admin_url",), f"{_TLS}, and with `oidc` a session begins there")
    if not is_private(file.oidc.issuer):
        found.complain((*path, "issuer"), _TLS)
    elif urlsplit(file.oidc.issuer).query or urlsplit(file.oidc.issuer).fragment:
        found.complain((*path, "issuer"), "must end with its path; remove ? or # and what follows")
