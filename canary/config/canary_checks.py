"""Checks of each canary, and of those that match the same requests.

Its arms exist, its ramp rises, its rubric can be judged, its days can hold the plan. Lanes fit, and canaries
that match alike know a unit alike.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from itertools import combinations
from typing import get_args

from alerts.rules.rule import OF_SESSIONS, rule_key
from canary.config import conversion, guardrails
from canary.config.errors import Path
from canary.config.part_checks import check_capture, check_forms, check_judging, check_prompt, check_request
from canary.config.quantity import CANARY_NAME, COMPUTED, TAG_NAME, suggestion
from canary.config.schema import CheckedDocument
from canary.config.sections import CanarySection, FileSection, GuardrailSection
from proxy.dialects.operation import Api
from proxy.providers.provider import Kind, Timeout
from proxy.providers.urls import read, takes_canaries
from records.facts.metric import (
    BUILT_IN,
    CLASS_MEASURES,
    JUDGED,
    JUDGED_PREFERENCE,
    THROUGHPUT,
    Metric,
    is_offline,
)
from routing.caller import TAG
from routing.lanes import groups, sizes
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import wrong_with

MOST_ROWS = 5
"""Above this number of rubric rows, hardly any candidate passes: each row can fail by chance."""

LARGE_SHARE = 0.5


def check_canaries(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem and warning of each canary, and of those that match the same requests."""
    metrics = conversion.declared_metrics(file)
    for index, canary in enumerate(file.canaries):
        path: Path = ("canaries", index)
        _check_names(canary, path, found)
        _check_arms(file, canary, path, found)
        _check_patience(canary, path, found)
        _warn_of_sessions(canary, path, found)
        _check_shares(canary, path, found)
        _check_settle(canary, path, found)
        _check_holdback(canary, path, found)
        _check_assignment(canary, path, found)
        _check_match(canary, path, found)
        _check_reach(file, canary, path, found)
        _check_state(file, canary, path, found)
        _check_embeddings(file, canary, path, found)
        check_forms(file, canary, path, found)
        _check_tags(file, canary, path, found)
        _check_critical(canary, path, found)
        _check_expect(canary, path, found)
        _check_guardrails(file, canary, metrics, path, found)
        _check_rubric(canary, metrics, path, found)
        check_plan(canary, metrics, path, found)
        check_judging(file, canary, path, found)
        if canary.capture is not None:
            check_capture(canary.capture, (*path, "capture"), found)
    check_retention(file, found)
    check_lanes(file, found)
    _check_standing(file, found)


def _check_expect(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    """Record expectations of nobody, and of categories that are not critical."""
    if canary.expect is None:
        return
    if canary.expect.rated == 0:
        found.complain((*path, "expect", "rated"), "nobody rates, so leave out the rows on ratings instead")
    for name, share in canary.expect.categories.items():
        place = (*path, "expect", "categories", name)
        if name not in canary.critical_categories:
            found.complain(place, f'"{name}" is none of `critical_categories`, and no other counts')
        elif share == 0:
            found.complain(place, "nobody is in it, so leave it out of `critical_categories` instead")


def _check_standing(file: FileSection, found: CheckedDocument) -> None:
    """Record two standing canaries for the same requests: each would have a baseline for them."""
    standing = [(index, conversion.canary(each)) for index, each in enumerate(file.canaries) if each.standing]
    for (_, one), (index, other) in combinations(standing, 2):
        if one.meets(other):
            message = f'matches requests of "{one.name}", which is standing too; separate them'
            found.complain(("canaries", index, "match"), message)


def _check_names(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    if not CANARY_NAME.fullmatch(canary.name):
        found.complain((*path, "name"), "a canary's name may contain letters, digits, . _ and -, at most 63")
    for key, names in (
        ("segments", canary.segments),
        ("critical_categories", canary.critical_categories),
        ("critical_segments", canary.critical_segments),
        ("unit", canary.unit),
        ("session", canary.session),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                found.complain((*path, key, index), f'"{name}" is listed twice')


def _check_arms(file: FileSection, canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    for key, arm in (("baseline", canary.baseline), ("candidate", canary.candidate)):
        found.must_know_provider((*path, key, "provider"), arm.provider)
        if not arm.model and not (canary.standing and key == "candidate"):
            found.complain((*path, key, "model"), "is missing")
        if arm.request is not None:
            check_request(arm.request, (*path, key, "request"), found)
        if arm.prompt is not None:
            check_prompt(arm.prompt, (*path, key, "prompt"), found)
    baseline = file.providers.get(canary.baseline.provider)
    candidate = file.providers.get(canary.candidate.provider)
    if baseline is None or candidate is None:
        return
    place = (*path, "candidate", "provider")
    name = canary.candidate.provider
    if candidate.api != baseline.api:
        message = (
            f'"{name}" uses the {candidate.api} API and the baseline uses {baseline.api}; both arms need '
            "the same API (most providers have a compatible endpoint)"
        )
        found.complain(place, message)
    if candidate is baseline:
        if conversion.arm(canary.candidate) == conversion.arm(canary.baseline):
            found.warn((*path, "candidate", "model"), "both arms use the same model: this is an A/A test")
    elif conversion.own_auth_of(candidate) is None:
        if not found.was_cut(("providers", name, "api_key")):
            message = (
                f'"{name}" has no api_key, and the caller\'s key is never sent to another provider; '
                f"set providers.{name}.api_key{', or `auth: azure`' if candidate.kind == 'azure' else ''}"
            )
            found.complain(place, message)
    elif candidate.api_key is not None and candidate.api_key == baseline.api_key:
        found.warn(place, f'"{name}" and the baseline\'s provider have the same api_key')


def _check_patience(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    if canary.baseline.patience_s is not None:
        found.complain((*path, "baseline", "patience"), "only the candidate has a patience; remove it here")
    if canary.candidate.patience_s is not None and canary.on_candidate_failure == "error":
        message = "has no effect with on_candidate_failure: error, because the baseline does not answer then"
        found.warn((*path, "candidate", "patience"), message)


def _check_shares(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    if canary.share is not None and canary.ramp is not None:
        found.complain((*path, "ramp"), "cannot be combined with share; remove one of them")
    neither = canary.share is None and canary.ramp is None
    if neither and not (found.was_cut((*path, "share")) or found.was_cut((*path, "ramp"))):
        found.complain(path, "has neither share nor ramp; set one, for example `share: 5%`")
    if canary.share is not None:
        _warn_of_large(canary.share, (*path, "share"), found)
    steps = canary.ramp or ()
    for index, step in enumerate(steps):
        place = (*path, "ramp", index)
        _warn_of_large(step.share, (*place, "share"), found)
        cut = found.was_cut((*place, "for")) or found.cut_below((*place, "until"))
        if step.for_s is None and step.until is None and index < len(steps) - 1 and not cut:
            message = "has no end: write `for: 1h`, `until: {users: 300}` or both; only the last may omit it"
            found.complain(place, message)
        if index and step.share < steps[index - 1].share:
            message = f"a ramp must not fall: {step.share:.4g} follows {steps[index - 1].share:.4g}"
            found.complain((*place, "share"), message)


def _warn_of_sessions(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    if canary.unit[0] == "session":
        message = (
            "a unit is a session: one person may be several, in both arms, so wrong verdicts are likelier "
            "than `risk` says; put `header` or `body` first where your app knows its users"
        )
        found.warn((*path, "unit"), message)


def _warn_of_large(share: float, path: Path, found: CheckedDocument) -> None:
    if share > LARGE_SHARE:
        found.warn(path, f"{share:.4g} is more than half of the users; a typical share is 5% to 10%")


def _check_settle(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    if canary.settle_s > canary.settle_at_most_s:
        message = (
            "is more than `settle_at_most`, so no change of share would wait until a user is idle; write "
            "less, or raise `settle_at_most` (default 4h)"
        )
        found.complain((*path, "settle"), message)


def _check_holdback(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    if canary.holdback is None:
        return
    if canary.assignment == "header":
        found.complain(
            (*path, "holdback"), "is canary's own, and `assignment: header` leaves the users to a flag system"
        )
    if canary.holdback.share > LARGE_SHARE:
        message = f"{canary.holdback.share:.4g} is more than half of the users: not a promotion any more"
        found.complain((*path, "holdback", "share"), message)


def _check_assignment(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    """Check what a flag system's arms exclude, and say what canary then does not check."""
    if canary.assignment == "hash":
        return
    if canary.ramp is not None:
        message = (
            "cannot be combined with assignment: header; a flag system raises its percentage by itself, so "
            "set `share` to what it gives now"
        )
        found.complain((*path, "ramp"), message)
    for key, given in (("no_unit", canary.no_unit == "random"), ("lane", canary.lane is not None)):
        if given:
            message = (
                "cannot be combined with assignment: header, where canary draws nothing itself; remove it"
            )
            found.complain((*path, key), message)
    message = (
        "a flag system assigns the units: canary does not check the split (no sample-ratio mismatch), and "
        "guardrails need `share` to be what that system gives"
    )
    found.warn((*path, "assignment"), message)


def _check_match(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    for index, text in enumerate(canary.match.paths):
        if not text.startswith("/"):
            found.complain((*path, "match", "paths", index), f'a path starts with "/": write "/{text}"')
    for key, texts in (("models", canary.match.models), ("paths", canary.match.paths)):
        for index, text in enumerate(texts):
            if "*" in text:
                message = (
                    f'"{text}" is taken literally, with its "*"; list each of the {key} by its full name'
                )
                found.warn((*path, "match", key, index), message)
    given = any(value for _, value in canary.match)
    if not given and not found.cut_below((*path, "match")):
        found.warn((*path, "match"), "is empty: this canary takes every request, for any model")


def _check_reach(file: FileSection, canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    name = canary.baseline.provider
    if name not in file.providers:
        return
    provider = file.providers[name]
    api, paths = provider.api, [each for each in canary.match.paths if each.startswith("/")]
    if paths and not any(takes_canaries(provider.kind, api, each) for each in paths):
        why = ", ".join(f"{each} belongs to {_owner(provider.kind, each)}" for each in paths)
        message = f'no request reaches this canary: its baseline "{name}" has the {api} API, and {why}'
        found.complain((*path, "match", "paths"), message)
    elif below := conversion.base_path(file.providers, name):
        scheme = "http" if file.tls is None else "https"
        shorter = f", or to {own}" if (own := conversion.own_paths(file.providers, name)) else ""
        message = (
            f"only requests to the base URL {scheme}://{file.traffic}{below}{shorter} reach this canary, "
            f'because "{name}" is not the first provider with `api: {api}`'
        )
        found.warn((*path, "baseline", "provider"), message)


def _check_state(file: FileSection, canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    """Say which of the canary's requests stay with the baseline because two entries share no state."""
    name = canary.baseline.provider
    if name not in file.providers or canary.candidate.provider == name:
        return
    provider = file.providers[name]
    for index, each in enumerate(canary.match.paths):
        if read(provider.kind, provider.api, "POST", each).operation.creates_state:
            message = (
                f"requests to {each} without `store: false` stay with the baseline, outside the statistics: "
                "the answers that they store exist at one provider entry only, and the arms are at two"
            )
            found.warn((*path, "match", "paths", index), message)


_EMBEDDER = re.compile(r"embed|(?:^|[/.-])(?:voyage|bge|e5|gte)-|minilm", re.IGNORECASE)
"""What names of models for embeddings have."""


def _check_embeddings(file: FileSection, canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    """Warn of two arms that embed for one index: with other models, a standing canary's next one too, at
    other entries, or with other settings, such as `dimensions`."""
    arms = [conversion.arm(each) for each in (canary.baseline, canary.candidate)]
    provider = file.providers.get(canary.baseline.provider)
    if provider is None or len({(each.provider, each.model, each.request) for each in arms}) == 1:
        return
    asked = {read(provider.kind, provider.api, "POST", each).operation.name for each in canary.match.paths}
    names = (*canary.match.models, *canary.match.paths, *(each.model for each in arms))
    by_name = asked <= {"invoke_model"} and any(map(_EMBEDDER.search, names))  # which Bedrock has for all
    if by_name or "embeddings" in asked:
        message = (
            "takes embeddings with two arms whose vectors cannot be compared: users of the candidate "
            "would search the baseline's index in vain. Build an index with the candidate's model first and "
            "let the app choose by GET /canary/arm, or compare them offline (`canary bench`, `similar`)"
        )
        found.warn((*path, "candidate", "model"), message)


def _owner(kind: Kind, path: str) -> str:
    apis = [api for api in get_args(Api) if takes_canaries(kind, api, path)]
    return f"the {apis[0]} API" if apis else "no API's LLM operations"


def _check_tags(file: FileSection, canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    places: list[tuple[Path, str]] = [
        *(((*path, "match", "tags", name), name) for name in canary.match.tags),
        *(((*path, "segments", index), name) for index, name in enumerate(canary.segments)),
    ]
    for index, rule in enumerate(canary.guardrails or ()):
        places += [((*path, "guardrails", index, "segment", name), name) for name in rule.segment or ()]
    for place, name in places:
        if not TAG_NAME.fullmatch(name):
            found.complain(place, f'"{name}" is not a valid tag name; use letters, digits, . _ and -')
        elif file.tags is not None and name not in file.tags and not (file.callers and name == TAG):
            found.complain(place, f'"{name}" is not listed under tags{suggestion(name, file.tags)}')


def _check_critical(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    parts = len(canary.critical_categories) + len(canary.critical_segments)
    if parts > guardrails.MOST_PARTS and canary.guardrails != ():
        message = (
            f"has {parts} critical categories and segments; only the first {guardrails.MOST_PARTS} get "
            "guardrails of their own, because each makes the others slower"
        )
        found.warn(path, message)
    for index, text in enumerate(canary.critical_segments):
        tag, equals, value = (part.strip() for part in text.partition("="))
        place = (*path, "critical_segments", index)
        if not (tag and equals and value):
            found.complain(
                place, f'"{text}" is not a segment; write TAG=VALUE, for example "plan=enterprise"'
            )
        elif tag not in canary.segments and not found.cut_below((*path, "segments")):
            near = suggestion(tag, canary.segments)
            found.complain(place, f'"{tag}" is not listed under this canary\'s segments{near}')


def _check_guardrails(
    file: FileSection,
    canary: CanarySection,
    metrics: Mapping[str, Metric],
    path: Path,
    found: CheckedDocument,
) -> None:
    seen: dict[str, int] = {}
    longest_s = _longest_s(file, canary)
    for index, rule in enumerate(canary.guardrails or ()):
        place = (*path, "guardrails", index)
        if wrong := guardrails.wrong_with_subject(rule, metrics):
            known = rule.metric in found.names("metrics") and rule.metric not in metrics
            if not known and not any(found.was_cut((*place, key)) for key in ("rule", "metric")):
                found.complain((*place, "metric") if rule.metric and not rule.rule else place, wrong)
            continue
        limit = _try(partial(guardrails.limit, metrics=metrics), rule, (*place, "limit"), found)
        if rule.rule == "latency_p95" and limit is not None and limit >= longest_s:
            message = (
                f"{rule.limit} is never reached: no answer of the candidate takes longer than its total of"
                f" {longest_s:g}s; write less"
            )
            found.complain((*place, "limit"), message)
        for ignored, message in guardrails.ignored(rule):
            found.complain((*place, ignored), message)
        _try(partial(guardrails.window_s, metrics=metrics), rule, (*place, "window"), found)
        _check_scope(rule, place, found)
        key = rule_key(rule.name, rule.category, rule.segment)
        if key in seen:
            message = (
                f"{key} has the same rule, category and segment as guardrails[{seen[key]}]; status, metrics "
                "and pages could not tell them apart, so merge the two or change one"
            )
            found.complain(place, message)
        seen.setdefault(key, index)


def _longest_s(file: FileSection, canary: CanarySection) -> float:
    """The longest time that an answer of the candidate may take, in seconds."""
    provider = file.providers.get(canary.candidate.provider)
    given = [each.timeout for each in (canary.candidate, provider) if each is not None]
    totals = [each.total_s for each in given if each is not None and each.total_s is not None]
    return totals[0] if totals else Timeout().total_s


def _check_scope(rule: GuardrailSection, place: Path, found: CheckedDocument) -> None:
    narrowed = [key for key in ("category", "segment") if getattr(rule, key) is not None]
    if not narrowed or (rule.metric is None and rule.rule not in guardrails.WHOLE_ONLY):
        return
    why, shown = "feedback has no category and no tags", "feedback"
    if rule.rule == "telemetry":
        why = "a lost outcome has no category and no tags"
    elif rule.name in OF_SESSIONS:
        why, shown = "each request of a session may have others", "sessions"
    message = (
        f"{rule.name} can only watch the whole canary, because {why}; remove {narrowed[0]} (the report shows"
        f" {shown} by category and segment)"
    )
    found.complain((*place, narrowed[0]), message)


def _try(
    read: Callable[[GuardrailSection], float | None],
    rule: GuardrailSection,
    path: Path,
    found: CheckedDocument,
) -> float | None:
    try:
        return read(rule)
    except ValueError as error:
        found.complain(path, str(error))
        return None


def _check_rubric(
    canary: CanarySection, metrics: Mapping[str, Metric], path: Path, found: CheckedDocument
) -> None:
    known = list(dict.fromkeys([*COMPUTED, *BUILT_IN, *JUDGED, THROUGHPUT, *found.names("metrics")]))
    seen: set[str] = set()
    for index, row in enumerate(canary.rubric):
        place = (*path, "rubric", index)
        if row.metric not in known and not is_offline(row.metric):
            found.complain((*place, "metric"), _unknown_metric(row.metric, known))
        elif row.metric in seen:
            found.complain((*place, "metric"), f'"{row.metric}" is in this rubric twice')
        seen.add(row.metric)
        if not row.question.strip():
            found.complain((*place, "question"), "must state the business question that the metric answers")
        for key, message in wrong_with(conversion.criterion(row), metrics):
            found.complain((*place, *key), message)
    rows = sum(not is_offline(row.metric) for row in canary.rubric)
    if rows > MOST_ROWS:
        message = f"has {rows} rows; with more than {MOST_ROWS}, hardly any candidate passes them all"
        found.warn((*path, "rubric"), message)
    if not rows and not found.cut_below((*path, "rubric")):
        lacks = "no row that a canary measures in its rubric" if canary.rubric else "no rubric"
        found.warn(path, f"has {lacks}, so its report cannot reach a verdict")


def _unknown_metric(name: str, known: Collection[str]) -> str:
    if name.rstrip(": ") in CLASS_MEASURES:
        return f'"{name}" needs a class; write, for example, "{name.rstrip(": ")}:fraud"'
    return f'"{name}" is not a built-in, computed or declared metric{suggestion(name, known)}'


def check_retention(file: FileSection, found: CheckedDocument) -> None:
    """Warn of records that are deleted while a plan and its extension still count their days."""
    metrics, days = conversion.declared_metrics(file), file.retention_s / DAY_S
    for index, canary in enumerate(file.canaries):
        _check_texts_last(canary, metrics, ("canaries", index), found)
    plans = [(2 * conversion.planned_days(canary, metrics), canary.name) for canary in file.canaries]
    longest, name = max(plans, default=(0, ""))
    if longest > days:
        found.warn(
            ("retention",),
            f"{days:g}d is shorter than the plan of {name} with its extension, and looks count days from the "
            f"records that are left; write at least {longest}d",
        )


def _check_texts_last(
    canary: CanarySection, metrics: Mapping[str, Metric], path: Path, found: CheckedDocument
) -> None:
    """Warn of pairs whose texts are deleted while people may still have to label them."""
    planned = conversion.planned_days(canary, metrics)
    waits = any(row.metric == JUDGED_PREFERENCE for row in canary.rubric)
    if not waits or canary.capture is None or canary.capture.expires_after_s >= planned * DAY_S:
        return
    found.warn(
        (*path, "capture", "expires_after"),
        f"{canary.capture.expires_after_s / DAY_S:.3g}d is shorter than the plan's {planned} days, and a "
        "pair that expires unlabelled ends what counts of its category for judged_preference; write at least "
        f"{planned}d, or label every day",
    )


WEEK_DAYS = 7


def check_plan(
    canary: CanarySection, metrics: Mapping[str, Metric], path: Path, found: CheckedDocument
) -> None:
    """Record planned days that end before the verdict may be to ship; warn of less than a week before it."""
    least_days = conversion.minimum_days(canary)
    if canary.rubric and 0 < least_days < WEEK_DAYS:
        found.warn(
            (*path, "minimum_days"),
            f"{least_days:g} is less than a week, so a verdict to ship may rest on working days "
            f"alone, or on a weekend; write at least {WEEK_DAYS}",
        )
    planned, least = canary.planned_days, least_days + conversion.days_to_mature(canary, metrics)
    if planned is None or planned >= least:
        return
    if planned == 0 and least_days == 0:
        return
    enough = math.ceil(least)
    if planned == 0:
        said = f"0 is no plan, which needs `minimum_days: 0`; write that too, or at least {enough} here"
    else:
        matures = "" if least == least_days else " and its slowest metric's `matures_after`"
        said = f"{planned} is less than `minimum_days`{matures}, {least:g} in all; write at least {enough}"
    found.complain((*path, "planned_days"), said)


def check_lanes(file: FileSection, found: CheckedDocument) -> None:
    """Record two canaries of one name, and every problem and warning of lanes."""
    for (_, one), (index, other) in combinations(enumerate(file.canaries), 2):
        if one.name == other.name:
            message = f'two canaries are named "{one.name}"; rename this one'
            found.complain(("canaries", index, "name"), message)
    known = {each.name: (index, each) for index, each in enumerate(file.canaries) if not each.standing}
    canaries = [conversion.canary(section) for _, section in known.values()]
    for group in groups(canaries):
        members = [known[each.name] for each in group]
        _check_group(members, sizes(group), found)


def _check_group(
    members: list[tuple[int, CanarySection]], parts: dict[str, float], found: CheckedDocument
) -> None:
    _, first = members[0]
    declared = sum(each.lane or 0.0 for _, each in members)
    for index, each in members:
        if each.assignment == "header" and len(members) > 1:
            message = (
                "cannot be `header` where other canaries match the same requests: a request has one arm; "
                "separate them by models, paths, headers or tags"
            )
            found.complain(("canaries", index, "assignment"), message)
    for index, each in members[1:]:
        for key in ("unit", "session", "no_unit"):
            if getattr(each, key) != getattr(first, key):
                message = f'differs from "{first.name}", which takes the same requests; both need the same'
                found.complain(("canaries", index, key), message)
    if declared > 1.0 + 1e-9:
        index = max(index for index, each in members if each.lane is not None)
        names = ", ".join(f'"{each.name}"' for _, each in members if each.lane is not None)
        found.complain(
            ("canaries", index, "lane"),
            f"the lanes of {names} add up to {declared:.4g}; they may have 1 in all",
        )
        return
    for index, each in members:
        path = ("canaries", index)
        others = ", ".join(f'"{other.name}"' for _, other in members if other is not each)
        if each.lane is None and parts[each.name] < 1e-6:
            found.complain(
                path,
                f"gets no lane: {others} take all units of the same requests; give it other requests, or "
                "make the lane of a canary that has not started smaller",
            )
        elif declared == 0.0:
            message = (
                f"takes the same requests as {others}: each gets a lane of its own, {parts[each.name]:.3g} "
                "of the units, if none of them has started. If this is meant, write `lane:` for those that "
                "have not started; else separate them by models, paths, headers or tags"
            )
            found.warn((*path, "match"), message)
