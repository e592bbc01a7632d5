"""Converts the file's sections into the rooms' values. Expects checked sections; checks nothing itself.

Sections are pydantic models with the file's keys, descriptions and checks. Values are dataclasses, because a
worker unpickles them and must not wait for pydantic's import. A field with the same meaning has the value's
name in both, and the file's key as its `alias`; fields of another shape are converted by hand.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from pydantic import JsonValue

from alerts.incidents.notice import PAGERDUTY_URL, Receiver
from bench.settings import DatasetSource, EmbeddingSource, JudgeSource, ProbesSource
from canary.config import guardrails
from canary.config.config import Config, TlsFiles
from canary.config.sections import (
    ArmSection,
    ArmTextSection,
    CanaryJudgeSection,
    CanarySection,
    CaptureSection,
    CriterionSection,
    FeedbackMappingSection,
    FileSection,
    MappedValueSection,
    MatchSection,
    MetricSection,
    NotifySection,
    PricesSection,
    ProviderSection,
    RequestSection,
    TimeoutSection,
)
from canary.config.server import ServerSettings
from console.access.openid_settings import OidcSettings
from control.settings import CanarySettings, DailyTime, StandingCanary
from judge.terms import JudgeTerms
from proxy.providers.provider import Auth, Provider, Timeout, own_auth
from proxy.providers.urls import below_entry, nameless_paths
from records.captures.capture import CaptureRule
from records.facts.arm_texts import NOTHING_KEPT, KeptTexts
from records.facts.feedback_mapping import MEMBERS, FeedbackMapping, MappedValue
from records.facts.metric import BUILT_IN, Metric, is_offline
from records.facts.price_list import FILE, PriceList
from records.facts.prices import PricedModel, TokenPrices
from records.shared.segment_folder import IN_STORE, OUTCOMES
from routing.caller import TAG, Caller
from routing.canary import (
    NO_CHANGES,
    Arm,
    ArmName,
    Canary,
    HoldbackTerms,
    Match,
    OwnPrompt,
    RequestChanges,
    Step,
    text_digest,
)
from verdict.terms.judged_canary import NOTHING_EXPECTED, ExpectedUse, JudgedCanary
from verdict.terms.plan import DAY_S, default_days
from verdict.terms.rubric import Criterion

HERE = Path()

_BOUNDS: Mapping[str, tuple[float | None, float | None]] = {
    "bool": (0.0, 1.0),
    "rating": (1.0, 5.0),
    "nps": (0.0, 10.0),
    "count": (0.0, None),
    "amount": (None, None),
}
"""Lowest and highest value of each metric kind without a `scale`."""


def config(
    file: FileSection,
    warnings: Sequence[str],
    folder: Path = HERE,
    data: Path | None = None,
    kept: KeptTexts = NOTHING_KEPT,
) -> Config:
    """Convert the whole file, which lies in this folder. `data` is the data folder, if not the file's. `kept`
    has the texts of the canaries that started."""
    providers = {name: provider(name, section) for name, section in file.providers.items()}
    metrics = declared_metrics(file)
    prices = {model: TokenPrices(**dict(section)) for model, section in file.prices.models.items()}
    price_list = _price_list(file.prices, folder, data or Path(file.data))

    def priced(model: ArmSection) -> PricedModel:
        seller = providers[model.provider]
        return PricedModel(
            seller=seller,
            model=model.model,
            overrides=prices,
            same_as=file.price_as,
            price_list=price_list,
        )

    canaries = {each.name: _canary(each, metrics, file, priced(each.candidate)) for each in file.canaries}
    standing = {
        each.name: StandingCanary(terms=canaries[each.name]) for each in file.canaries if each.standing
    }
    return Config(
        providers=providers,
        canaries={name: each for name, each in canaries.items() if name not in standing},
        standing=standing,
        metrics=metrics,
        feedback_mappings={name: mapping(section) for name, section in file.feedback_mappings.items()},
        server=ServerSettings(**{each.name: getattr(file, each.name) for each in fields(ServerSettings)}),
        arm_timeouts=dict(_arm_timeouts(file.canaries, providers)),
        patience={
            each.name: each.candidate.patience_s
            for each in file.canaries
            if each.candidate.patience_s is not None
        },
        captures={model: _capture_rule(each, file) for each in file.capture for model in each.models},
        judge=None if file.judge is None else JudgeSource(**dict(file.judge)),
        probes=None
        if (probes := file.probes) is None
        else ProbesSource(models=probes.models, daily_budget_usd=probes.daily_budget_usd),
        redact=file.redact,
        tags=tags(file),
        callers=tuple(Caller(**dict(section)) for section in file.callers),
        prices=prices,
        price_as=file.price_as,
        price_list=price_list,
        texts={
            **kept.by_digest,
            **{text_digest(each.text): each.text for one in file.canaries for each in arm_texts(one)},
        },
        datasets=tuple(DatasetSource(name=name, **dict(section)) for name, section in file.datasets.items()),
        embeddings=None if file.embeddings is None else EmbeddingSource(**dict(file.embeddings)),
        store=file.store,
        outcomes=file.outcomes or (OUTCOMES if file.shared == "none" else IN_STORE),
        shared=file.shared,
        notify=tuple(_receiver(section) for section in file.notify),
        retires=file.retires,
        admin_url=file.admin_url,
        oidc=_oidc(file),
        tls=None if file.tls is None else TlsFiles(**dict(file.tls)),
        retention_s=file.retention_s,
        report_job=DailyTime(**dict(file.report_job)) if file.report_job is not None else None,
        warnings=tuple(warnings),
    )


def _price_list(section: PricesSection, folder: Path, data: Path) -> PriceList | None:
    """The list to keep up to date, if any, with absolute paths: it goes to processes and threads."""
    if section.update is None:
        return None
    kept, source = (folder / data / FILE).absolute(), section.source
    if source is None or "://" in source:
        return PriceList(kept=kept, url=source or "")
    return PriceList(kept=kept, file=(folder / source).absolute())


def _oidc(file: FileSection) -> OidcSettings | None:
    if file.oidc is None or file.admin_url is None:
        return None
    return OidcSettings(**dict(file.oidc), redirect_uri=file.admin_url.rstrip("/") + "/oidc/callback")


def tags(file: FileSection) -> tuple[str, ...]:
    """The tags that apps may send: those in the `tags` list, else those that canaries use, in order. With
    callers the proxy alone says who calls."""
    if file.tags is not None:
        return file.tags
    used = dict.fromkeys(name for canary in file.canaries for name in used_tags(canary))
    return tuple(name for name in used if not (file.callers and name == TAG))


def used_tags(section: CanarySection) -> Sequence[str]:
    """The tags by which a canary matches, splits its report or narrows a guardrail."""
    narrowed = [name for rule in section.guardrails or () for name in rule.segment or ()]
    return [*section.match.tags, *section.segments, *narrowed]


def match(section: MatchSection) -> Match:
    """The canary's match, with header names in lower case as requests have them."""
    return Match(
        models=frozenset(section.models),
        paths=frozenset(section.paths),
        headers={name.lower(): value for name, value in section.headers.items()},
        tags=section.tags,
    )


def own_auth_of(section: ProviderSection) -> Auth | None:
    """How the entry's own credential is sent; None when the caller's is sent."""
    return own_auth(api=section.api, kind=section.kind, auth=section.auth, api_key=section.api_key)


def criterion(section: CriterionSection) -> Criterion:
    """One row of the rubric."""
    given = {name: value for name, value in section if name not in ("minimum_days", "assisted")}
    return Criterion(**given, assisted=section.assisted is not None)


def declared_metrics(file: FileSection) -> Mapping[str, Metric]:
    """The built-in metrics and the file's own."""
    sections = file.metrics.items()
    reported = {**BUILT_IN, **{name: _metric(name, each) for name, each in sections if each.cost_per is None}}
    costs = {name: _cost(name, each, reported) for name, each in sections if each.cost_per is not None}
    return {**reported, **costs}


def mapping(section: FeedbackMappingSection) -> FeedbackMapping:
    """One feedback mapping."""
    return FeedbackMapping(
        members={name: each.column or "" for name, each in section.map.items() if name in MEMBERS},
        metrics={name: _mapped(each) for name, each in section.map.items() if name not in MEMBERS},
        only={column: frozenset(text.lower() for text in texts) for column, texts in section.only.items()},
    )


def _mapped(section: MappedValueSection) -> MappedValue:
    return MappedValue(
        column=section.column or "",
        scale=section.scale,
        values={text.lower(): value for text, value in section.values.items()},
        constant=True if section.value is None else section.value,
        when=section.when or "",
    )


def planned_days(section: CanarySection, metrics: Mapping[str, Metric]) -> int:
    """The plan's days as given, else by default for these minimum days and this rubric."""
    if section.planned_days is not None:
        return section.planned_days
    least, matures = minimum_days(section), days_to_mature(section, metrics)
    if section.rubric and all(row.minimum_days is not None for row in section.rubric):
        return math.ceil(least + matures)
    return default_days(least, matures)


def minimum_days(section: CanarySection) -> float:
    """The days that must pass before the verdict may be to ship: those of the row that asks for the most."""
    rows = (section.minimum_days if row.minimum_days is None else row.minimum_days for row in section.rubric)
    return max(rows, default=section.minimum_days)


def days_to_mature(section: CanarySection, metrics: Mapping[str, Metric]) -> float:
    """The days that the rubric's slowest metric takes to mature."""
    declared = (metrics.get(row.metric) for row in section.rubric)
    return max((metric.matures_after_s for metric in declared if metric is not None), default=0.0) / DAY_S


def provider(name: str, section: ProviderSection) -> Provider:
    """One provider entry."""
    return Provider(
        name=name,
        api=section.api,
        base_url=section.base_url.rstrip("/"),
        api_key=section.api_key,
        timeout=_timeout(section.timeout, Timeout()),
        ca_file=section.ca_file,
        kind=section.kind,
        auth=section.auth,
        project=section.project or "",
        region=section.region or "",
        asks_stream_usage=section.stream_usage == "ask",
        forward_headers=tuple(name.lower() for name in section.forward_headers),
    )


def _timeout(section: TimeoutSection | None, default: Timeout) -> Timeout:
    if section is None:
        return default
    return replace(default, **{name: value for name, value in section if value is not None})


def base_path(providers: Mapping[str, ProviderSection], name: str) -> str | None:
    """The path of the base URL that requests to an entry need; None for an entry that they reach without its
    name: the first of its API, and the first of Vertex."""
    kind, api = providers[name].kind, providers[name].api
    same = [each for each, other in providers.items() if other.api == api]
    of_kind = [each for each in same if providers[each].kind == kind]
    if name == same[0] or (kind == "vertex" and name == of_kind[0]):
        return None
    return f"/{name}{below_entry(kind, api)}"


def own_paths(providers: Mapping[str, ProviderSection], name: str) -> str | None:
    """The paths of its kind that lead to an entry without its name; None if they lead to another."""
    kind, api = providers[name].kind, providers[name].api
    taken = next(
        first
        for first, each in providers.items()
        if each.kind == kind and (kind == "bedrock" or each.api == api)
    )
    return nameless_paths(kind, api) if name == taken else None


def canary(section: CanarySection) -> Canary:
    """One canary as routing takes it."""
    return Canary(
        name=section.name,
        match=match(section.match),
        baseline=arm(section.baseline),
        candidate=arm(section.candidate),
        steps=_steps(section),
        unit_from=section.unit,
        session_from=section.session,
        random_without_unit=section.no_unit == "random",
        fall_back=section.on_candidate_failure == "baseline",
        start_by_hand=section.start == "manual",
        assigned_outside=section.assignment == "header",
        lane=section.lane,
        settle_s=section.settle_s,
        settle_at_most_s=section.settle_at_most_s,
        holdback=HoldbackTerms(**dict(section.holdback)) if section.holdback is not None else None,
    )


def _canary(
    section: CanarySection, metrics: Mapping[str, Metric], file: FileSection, candidate_price: PricedModel
) -> CanarySettings:
    routed = canary(section)
    return CanarySettings(
        canary=routed,
        judged=JudgedCanary(
            name=section.name,
            criteria=tuple(criterion(row) for row in section.rubric if not is_offline(row.metric)),
            offline=tuple(criterion(row) for row in section.rubric if is_offline(row.metric)),
            minimum_days=minimum_days(section),
            planned_days=planned_days(section, metrics),
            risk=section.risk,
            planned_units=section.planned_units,
            segments=section.segments,
            critical_categories=frozenset(section.critical_categories),
            critical_segments=frozenset(segment(text) for text in section.critical_segments),
            metrics=metrics,
            steps=routed.steps,
            shares={phase: step.share for phase, step in enumerate(routed.steps)},
            baseline=routed.baseline,
            candidate=routed.candidate,
            match=routed.match,
            assigned_outside=routed.assigned_outside,
            by_session=section.unit[0] == "session",
            judge=_judge_of(section, file),
            candidate_price=candidate_price,
            expected=NOTHING_EXPECTED if section.expect is None else ExpectedUse(**dict(section.expect)),
        ),
        guardrails=guardrails.rules(
            section.guardrails,
            metrics=metrics,
            categories=section.critical_categories,
            segments=[segment(text) for text in section.critical_segments],
        ),
        base_path=base_path(file.providers, section.baseline.provider),
        mirror=section.mirror,
        capture=_capture_rule(section.capture, file) if section.capture is not None else None,
        judge=_judge_terms(section.judge) if section.judge is not None else None,
        promoted_by=section.promoted_by,
        owner=section.owner or "",
        texts=_by_file(section),
    )


def _by_file(section: CanarySection) -> Mapping[str, str]:
    """The digest of each file of the arms. Files of one name in two folders are told apart."""
    found: dict[str, str] = {}
    for each in arm_texts(section):
        digest = text_digest(each.text)
        known = found.setdefault(each.file, digest)
        if known != digest:
            found[f"{each.file} ({digest[:8]})"] = digest
    return found


def _judge_of(section: CanarySection, file: FileSection) -> str:
    """The judge and its criteria, as a rubric's hash has them."""
    if file.judge is None or section.judge is None:
        return ""
    return f"{file.judge.provider}/{file.judge.model}: {section.judge.criteria}"


def _judge_terms(section: CanaryJudgeSection) -> JudgeTerms:
    return JudgeTerms(
        pairs=section.pairs or 0,
        answers=section.answers or 0,
        sessions=section.sessions or 0,
        criteria=section.criteria,
    )


def _capture_rule(section: CaptureSection, file: FileSection) -> CaptureRule:
    return CaptureRule(
        rate=section.rate,
        per_category=section.per_category,
        expires_after_s=section.expires_after_s,
        redact=(*file.redact, *section.redact),
    )


def segment(text: str) -> tuple[str, str]:
    """The tag and its value of "TAG=VALUE"."""
    tag, _, value = text.partition("=")
    return tag.strip(), value.strip()


def arm(section: ArmSection) -> Arm:
    """An arm, its texts by their digests."""
    prompt = section.prompt
    return Arm(
        provider=section.provider,
        model=section.model,
        request=_changes(section.request),
        prompt=None
        if prompt is None
        else OwnPrompt(find=text_digest(prompt.find.text), put=text_digest(prompt.put.text)),
        tools=tuple((name, text_digest(each.text)) for name, each in section.tools.items()),
        name=section.name or "",
    )


def arm_texts(section: CanarySection) -> Iterator[ArmTextSection]:
    """The texts of both arms."""
    for each in (section.baseline, section.candidate):
        if each.prompt is not None:
            yield from (each.prompt.find, each.prompt.put)
        yield from each.tools.values()


def _changes(section: RequestSection | None) -> RequestChanges:
    if section is None:
        return NO_CHANGES
    return RequestChanges(
        rename=tuple(section.rename.items()),
        remove=section.remove,
        set=_as_json(section.set),
        default=_as_json(section.default),
    )


def _as_json(members: Mapping[str, JsonValue]) -> tuple[tuple[str, str], ...]:
    return tuple((name, json.dumps(value, ensure_ascii=False)) for name, value in members.items())


def _arm_timeouts(
    sections: Sequence[CanarySection], providers: Mapping[str, Provider]
) -> Iterator[tuple[tuple[str, ArmName], Timeout]]:
    for each in sections:
        arms: dict[ArmName, ArmSection] = {"baseline": each.baseline, "candidate": each.candidate}
        for arm, section in arms.items():
            if section.timeout is not None:
                yield (each.name, arm), _timeout(section.timeout, providers[section.provider].timeout)


def _steps(section: CanarySection) -> tuple[Step, ...]:
    if section.share is not None:
        return (Step(share=section.share),)
    return tuple(
        Step(share=each.share, for_s=each.for_s, users=each.until.users if each.until is not None else None)
        for each in section.ramp or ()
    )


def _metric(name: str, section: MetricSection) -> Metric:
    kind = section.kind or "amount"
    low, high = section.scale or _BOUNDS[kind]
    return Metric(
        name=name,
        kind=kind,
        question=section.question,
        low=low,
        high=high,
        higher_is_better=section.higher_is_better,
        matures_after_s=section.matures_after_s,
        per=section.per or "value",
    )


def _cost(name: str, section: MetricSection, reported: Mapping[str, Metric]) -> Metric:
    counted = reported.get(section.cost_per or "")
    return Metric(
        name=name,
        kind="amount",
        question=section.question,
        low=0.0,
        higher_is_better=False,
        matures_after_s=0.0 if counted is None else counted.matures_after_s,
        cost_per=section.cost_per or "",
    )


def _receiver(section: NotifySection) -> Receiver:
    if section.pagerduty is not None:
        return Receiver(
            kind="pagerduty", url=section.pagerduty.url or PAGERDUTY_URL, key=section.pagerduty.key
        )
    if section.alertmanager is not None:
        return Receiver(kind="alertmanager", url=section.alertmanager)
    if section.slack is not None:
        return Receiver(kind="slack", url=section.slack)
    if section.apprise is not None:
        return Receiver(kind="apprise", url=section.apprise)
    return Receiver(kind="webhook", url=section.webhook or "")
