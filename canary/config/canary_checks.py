"""Checks of each canary, and of those that match the same requests.

Its arms exist, its ramp rises, its rubric can be judged, its days can hold the plan. Lanes fit, and canaries
that match alike know a unit alike.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from itertools import combinations
from typing import get_args

from alerts.rules.rule import OF_SESSIONS, rule_key
from canary.config import conversion, guardrails
from canary.config.part_checks import check_capture, check_forms, check_judging, check_prompt, check_request
from canary.config.quantity import CANARY_NAME, COMPUTED, TAG_NAME, suggestion
from canary.config.schema import CheckedDocument
from canary.config.sections import CanarySection, FileSection, GuardrailSection
from common.numbers import set_percent
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
        here = found.below("canaries", index)
        _check_names(canary, here)
        _check_arms(file, canary, here)
        _check_waits(canary, here)
        _check_shares(canary, here)
        _check_holdback(canary, here)
        _check_assignment(canary, here)
        _check_match(canary, here)
        _check_reach(file, canary, here)
        _check_state(file, canary, here)
        _check_embeddings(file, canary, here)
        check_forms(file, canary, here)
        _check_tags(file, canary, here)
        _check_critical(canary, here)
        _check_expect(canary, here)
        _check_guardrails(file, canary, metrics, here)
        _check_rubric(canary, metrics, here)
        check_plan(canary, metrics, here)
        check_judging(file, canary, here)
        if canary.capture is not None:
            check_capture(canary.capture, here.below("capture"))
    check_retention(file, found)
    check_lanes(file, found)
    _check_standing(file, found)


def _check_expect(canary: CanarySection, here: CheckedDocument) -> None:
    """Record expectations of nobody, and of categories that are not critical."""
    if canary.expect is None:
        return
    if canary.expect.rated == 0:
        here.complain("nobody rates, so leave out the rows on ratings instead", "expect", "rated")
    for name, share in canary.expect.categories.items():
        place = here.below("expect", "categories", name)
        if name not in canary.critical_categories:
            place.complain(f'"{name}" is none of `critical_categories`, and no other counts')
        elif share == 0:
            place.complain("nobody is in it, so leave it out of `critical_categories` instead")


def _check_standing(file: FileSection, found: CheckedDocument) -> None:
    """Record two standing canaries for the same requests: each would have a baseline for them."""
    standing = [(index, conversion.canary(each)) for index, each in enumerate(file.canaries) if each.standing]
    for (_, one), (index, other) in combinations(standing, 2):
        if one.meets(other):
            message = f'matches requests of "{one.name}", which is standing too; separate them'
            found.complain(message, "canaries", index, "match")


def _check_names(canary: CanarySection, here: CheckedDocument) -> None:
    if not CANARY_NAME.fullmatch(canary.name):
        here.complain("a canary's name may contain letters, digits, . _ and -, at most 63", "name")
    for key, names in (
        ("segments", canary.segments),
        ("critical_categories", canary.critical_categories),
        ("critical_segments", canary.critical_segments),
        ("unit", canary.unit),
        ("session", canary.session),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                here.complain(f'"{name}" is listed twice', key, index)


def _check_arms(file: FileSection, canary: CanarySection, here: CheckedDocument) -> None:
    for key, arm in (("baseline", canary.baseline), ("candidate", canary.candidate)):
        here.must_know_provider(arm.provider, key, "provider")
        if not arm.model and not (canary.standing and key == "candidate"):
            here.complain("is missing", key, "model")
        check_model(arm.model, here.below(key, "model"))
        if arm.request is not None:
            check_request(arm.request, here.below(key, "request"))
        if arm.prompt is not None:
            check_prompt(arm.prompt, here.below(key, "prompt"))
    baseline = file.providers.get(canary.baseline.provider)
    candidate = file.providers.get(canary.candidate.provider)
    if baseline is None or candidate is None:
        return
    place = here.below("candidate", "provider")
    name = canary.candidate.provider
    if candidate.api != baseline.api:
        place.complain(
            f'"{name}" uses the {candidate.api} API and the baseline uses {baseline.api}; both arms need '
            "the same API (most providers have a compatible endpoint)"
        )
    if candidate is baseline:
        if conversion.arm(canary.candidate) == conversion.arm(canary.baseline):
            here.warn("both arms use the same model: this is an A/A test", "candidate", "model")
    elif conversion.own_auth_of(candidate) is None:
        if not here.root.was_cut("providers", name, "api_key"):
            place.complain(
                f'"{name}" has no api_key, and the caller\'s key is never sent to another provider; '
                f"set providers.{name}.api_key{', or `auth: azure`' if candidate.kind == 'azure' else ''}"
            )
    elif candidate.api_key is not None and candidate.api_key == baseline.api_key:
        place.warn(f'"{name}" and the baseline\'s provider have the same api_key')


def _check_waits(canary: CanarySection, here: CheckedDocument) -> None:
    """Check whom a request waits for, and how long a change of share does; and who a unit is."""
    if canary.settle_s > canary.settle_at_most_s:
        here.below("settle").complain(
            "is more than `settle_at_most`, so no change of share would wait until a user is idle; write "
            "less, or raise `settle_at_most` (default 4h)"
        )
    if canary.unit[0] == "session":
        here.below("unit").warn(
            "a unit is a session: one person may be several, in both arms, so wrong verdicts are likelier "
            "than `risk` says; put `header` or `body` first where your app knows its users"
        )
    if canary.baseline.patience_s is not None:
        here.complain("only the candidate has a patience; remove it here", "baseline", "patience")
    if canary.candidate.patience_s is not None and canary.on_candidate_failure == "error":
        message = "has no effect with on_candidate_failure: error, because the baseline does not answer then"
        here.warn(message, "candidate", "patience")


def _check_shares(canary: CanarySection, here: CheckedDocument) -> None:
    if canary.share is not None and canary.ramp is not None:
        here.complain("cannot be combined with share; remove one of them", "ramp")
    neither = canary.share is None and canary.ramp is None
    if neither and not (here.was_cut("share") or here.was_cut("ramp")):
        here.complain("has neither share nor ramp; set one, for example `share: 5%`")
    if canary.share is not None:
        _warn_of_large(canary.share, here.below("share"))
    steps = canary.ramp or ()
    for index, step in enumerate(steps):
        place = here.below("ramp", index)
        _warn_of_large(step.share, place.below("share"))
        cut = place.was_cut("for") or place.cut_below("until")
        if step.for_s is None and step.until is None and index < len(steps) - 1 and not cut:
            message = "has no end: write `for: 1h`, `until: {users: 300}` or both; only the last may omit it"
            place.complain(message)
        if index and step.share < steps[index - 1].share:
            before = set_percent(steps[index - 1].share)
            message = f"a ramp must not fall: {set_percent(step.share)} follows {before}"
            place.complain(message, "share")


def _warn_of_large(share: float, here: CheckedDocument) -> None:
    if share == 1.0:
        here.warn("leaves nobody on the baseline, so nothing is compared; a typical share is 5% to 10%")
    elif share > LARGE_SHARE:
        here.warn(f"{set_percent(share)} is more than half of the users; a typical share is 5% to 10%")


def _check_holdback(canary: CanarySection, here: CheckedDocument) -> None:
    if canary.holdback is None:
        return
    if canary.assignment == "header":
        here.complain(
            "is canary's own, and `assignment: header` leaves the users to a flag system", "holdback"
        )
    if canary.holdback.share > LARGE_SHARE:
        message = (
            f"{set_percent(canary.holdback.share)} is more than half of the users: not a promotion any more"
        )
        here.complain(message, "holdback", "share")


def _check_assignment(canary: CanarySection, here: CheckedDocument) -> None:
    """Check what a flag system's arms exclude, and say what canary then does not check."""
    if canary.assignment == "hash":
        return
    if canary.ramp is not None:
        here.below("ramp").complain(
            "cannot be combined with assignment: header; a flag system raises its percentage by itself, so "
            "set `share` to what it gives now"
        )
    for key, given in (("no_unit", canary.no_unit == "random"), ("lane", canary.lane is not None)):
        if given:
            here.below(key).complain(
                "cannot be combined with assignment: header, where canary draws nothing itself; remove it"
            )
    here.below("assignment").warn(
        "a flag system assigns the units: canary does not check the split (no sample-ratio mismatch), and "
        "guardrails need `share` to be what that system gives"
    )


def check_model(name: str, here: CheckedDocument) -> None:
    """Record a URL where the name of a model belongs."""
    if "://" in name:
        here.complain(
            "is a URL; write the name that the provider has for the model. Where its API is, `base_url` of "
            "the provider says"
        )


def _check_match(canary: CanarySection, here: CheckedDocument) -> None:
    for index, name in enumerate(canary.match.models):
        check_model(name, here.below("match", "models", index))
    for index, text in enumerate(canary.match.paths):
        if not text.startswith("/"):
            here.complain(f'a path starts with "/": write "/{text}"', "match", "paths", index)
    for key, texts in (("models", canary.match.models), ("paths", canary.match.paths)):
        for index, text in enumerate(texts):
            if "*" in text:
                here.below("match", key, index).warn(
                    f'"{text}" is taken literally, with its "*"; list each of the {key} by its full name'
                )
    given = any(value for _, value in canary.match)
    if not given and not here.cut_below("match"):
        here.warn("is empty: this canary takes every request, for any model", "match")


def _check_reach(file: FileSection, canary: CanarySection, here: CheckedDocument) -> None:
    name = canary.baseline.provider
    if (provider := file.providers.get(name)) is None:
        return
    api, paths = provider.api, [each for each in canary.match.paths if each.startswith("/")]
    if paths and not any(takes_canaries(provider.kind, api, each) for each in paths):
        why = ", ".join(f"{each} belongs to {_owner(provider.kind, each)}" for each in paths)
        message = f'no request reaches this canary: its baseline "{name}" has the {api} API, and {why}'
        here.complain(message, "match", "paths")
    elif below := conversion.base_path(file.providers, name):
        scheme = "http" if file.tls is None else "https"
        shorter = f", or to {own}" if (own := conversion.own_paths(file.providers, name)) else ""
        here.below("baseline", "provider").warn(
            f"only requests to the base URL {scheme}://{file.traffic}{below}{shorter} reach this canary, "
            f'because "{name}" is not the first provider with `api: {api}`'
        )


def _check_state(file: FileSection, canary: CanarySection, here: CheckedDocument) -> None:
    """Say which of the canary's requests stay with the baseline because two entries share no state."""
    provider = file.providers.get(canary.baseline.provider)
    if provider is None or canary.candidate.provider == canary.baseline.provider:
        return
    for index, each in enumerate(canary.match.paths):
        if read(provider.kind, provider.api, "POST", each).operation.creates_state:
            here.below("match", "paths", index).warn(
                f"requests to {each} without `store: false` stay with the baseline, outside the statistics: "
                "the answers that they store exist at one provider entry only, and the arms are at two"
            )


_EMBEDDER = re.compile(r"embed|(?:^|[/.-])(?:voyage|bge|e5|gte)-|minilm", re.IGNORECASE)
"""What names of models for embeddings have."""


def _check_embeddings(file: FileSection, canary: CanarySection, here: CheckedDocument) -> None:
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
        here.below("candidate", "model").warn(
            "takes embeddings with two arms whose vectors cannot be compared: users of the candidate "
            "would search the baseline's index in vain. Build an index with the candidate's model first and "
            "let the app choose by GET /canary/arm, or compare them offline (`canary bench`, `similar`)"
        )


def _owner(kind: Kind, path: str) -> str:
    apis = [api for api in get_args(Api) if takes_canaries(kind, api, path)]
    return f"the {apis[0]} API" if apis else "no API's LLM operations"


def _check_tags(file: FileSection, canary: CanarySection, here: CheckedDocument) -> None:
    places = [
        *((here.below("match", "tags", name), name) for name in canary.match.tags),
        *((here.below("segments", index), name) for index, name in enumerate(canary.segments)),
    ]
    for index, rule in enumerate(canary.guardrails or ()):
        places += [(here.below("guardrails", index, "segment", name), name) for name in rule.segment or ()]
    for place, name in places:
        listed = file.tags is None or name in file.tags or (file.callers and name == TAG)
        if check_tag(name, place) and not listed:
            place.complain(f'"{name}" is not listed under tags{suggestion(name, file.tags or ())}')


def check_tag(name: str, here: CheckedDocument) -> bool:
    """True for what can be a tag's name; any other is recorded."""
    if TAG_NAME.fullmatch(name):
        return True
    here.complain(f'"{name}" is not a valid tag name; use letters, digits, . _ and -')
    return False


def _check_critical(canary: CanarySection, here: CheckedDocument) -> None:
    parts = len(canary.critical_categories) + len(canary.critical_segments)
    if parts > guardrails.MOST_PARTS and canary.guardrails != ():
        here.warn(
            f"has {parts} critical categories and segments; only the first {guardrails.MOST_PARTS} get "
            "guardrails of their own, because each makes the others slower"
        )
    for index, text in enumerate(canary.critical_segments):
        tag, value = conversion.segment(text)
        place = here.below("critical_segments", index)
        if not (tag and value):
            place.complain(f'"{text}" is not a segment; write TAG=VALUE, for example "plan=enterprise"')
        elif tag not in canary.segments and not here.cut_below("segments"):
            near = suggestion(tag, canary.segments)
            place.complain(f'"{tag}" is not listed under this canary\'s segments{near}')


def _check_guardrails(
    file: FileSection, canary: CanarySection, metrics: Mapping[str, Metric], here: CheckedDocument
) -> None:
    seen: dict[str, int] = {}
    longest_s = _longest_s(file, canary)
    for index, rule in enumerate(canary.guardrails or ()):
        place = here.below("guardrails", index)
        if wrong := guardrails.wrong_with_subject(rule, metrics):
            known = rule.metric in here.names("metrics") and rule.metric not in metrics
            if not known and not any(place.was_cut(key) for key in ("rule", "metric")):
                place.complain(wrong, *(("metric",) if rule.metric and not rule.rule else ()))
            continue
        limit = _try(guardrails.limit, rule, metrics, place.below("limit"))
        if rule.rule == "latency_p95" and limit is not None and limit >= longest_s:
            place.below("limit").complain(
                f"{rule.limit} is never reached: no answer of the candidate takes longer than its total of"
                f" {longest_s:g}s; write less"
            )
        for ignored, message in guardrails.ignored(rule):
            place.complain(message, ignored)
        _try(guardrails.window_s, rule, metrics, place.below("window"))
        _check_scope(rule, place)
        key = rule_key(rule.name, rule.category, rule.segment)
        if key in seen:
            place.complain(
                f"{key} has the same rule, category and segment as guardrails[{seen[key]}]; status, metrics "
                "and pages could not tell them apart, so merge the two or change one"
            )
        seen.setdefault(key, index)


def _longest_s(file: FileSection, canary: CanarySection) -> float:
    """The longest time that an answer of the candidate may take, in seconds."""
    provider = file.providers.get(canary.candidate.provider)
    given = [each.timeout for each in (canary.candidate, provider) if each is not None]
    totals = [each.total_s for each in given if each is not None and each.total_s is not None]
    return totals[0] if totals else Timeout().total_s


def _check_scope(rule: GuardrailSection, here: CheckedDocument) -> None:
    narrowed = [key for key in ("category", "segment") if getattr(rule, key) is not None]
    if not narrowed or (rule.metric is None and rule.rule not in guardrails.WHOLE_ONLY):
        return
    why, shown = "feedback has no category and no tags", "feedback"
    if rule.rule == "telemetry":
        why = "a lost outcome has no category and no tags"
    elif rule.name in OF_SESSIONS:
        why, shown = "each request of a session may have others", "sessions"
    here.below(narrowed[0]).complain(
        f"{rule.name} can only watch the whole canary, because {why}; remove {narrowed[0]} (the report shows"
        f" {shown} by category and segment)"
    )


def _try(
    read: Callable[[GuardrailSection, Mapping[str, Metric]], float | None],
    rule: GuardrailSection,
    metrics: Mapping[str, Metric],
    here: CheckedDocument,
) -> float | None:
    try:
        return read(rule, metrics)
    except ValueError as error:
        here.complain(str(error))
        return None


def _check_rubric(canary: CanarySection, metrics: Mapping[str, Metric], here: CheckedDocument) -> None:
    known = list(dict.fromkeys([*COMPUTED, *BUILT_IN, *JUDGED, THROUGHPUT, *here.names("metrics")]))
    seen: set[str] = set()
    for index, row in enumerate(canary.rubric):
        place = here.below("rubric", index)
        if row.metric not in known and not is_offline(row.metric):
            place.complain(_unknown_metric(row.metric, known), "metric")
        elif row.metric in seen:
            place.complain(f'"{row.metric}" is in this rubric twice', "metric")
        seen.add(row.metric)
        if not row.question.strip():
            place.complain("must state the business question that the metric answers", "question")
        for key, message in wrong_with(conversion.criterion(row), metrics):
            place.complain(message, *key)
    rows = sum(not is_offline(row.metric) for row in canary.rubric)
    if rows > MOST_ROWS:
        message = f"has {rows} rows; with more than {MOST_ROWS}, hardly any candidate passes them all"
        here.warn(message, "rubric")
    if not rows and not here.cut_below("rubric"):
        lacks = "no row that a canary measures in its rubric" if canary.rubric else "no rubric"
        here.warn(f"has {lacks}, so its report cannot reach a verdict")


def _unknown_metric(name: str, known: Collection[str]) -> str:
    if name.rstrip(": ") in CLASS_MEASURES:
        return f'"{name}" needs a class; write, for example, "{name.rstrip(": ")}:fraud"'
    return f'"{name}" is not a built-in, computed or declared metric{suggestion(name, known)}'


def check_retention(file: FileSection, found: CheckedDocument) -> None:
    """Warn of records that are deleted while a plan and its extension still count their days."""
    metrics, days = conversion.declared_metrics(file), file.retention_s / DAY_S
    for index, canary in enumerate(file.canaries):
        _check_texts_last(canary, metrics, found.below("canaries", index))
    plans = [(2 * conversion.planned_days(canary, metrics), canary.name) for canary in file.canaries]
    longest, name = max(plans, default=(0, ""))
    if longest > days:
        found.warn(
            f"{days:g}d is shorter than the plan of {name} with its extension, and looks count days from the "
            f"records that are left; write at least {longest}d",
            "retention",
        )


def _check_texts_last(canary: CanarySection, metrics: Mapping[str, Metric], here: CheckedDocument) -> None:
    """Warn of pairs whose texts are deleted while people may still have to label them."""
    planned = conversion.planned_days(canary, metrics)
    waits = any(row.metric == JUDGED_PREFERENCE for row in canary.rubric)
    if not waits or canary.capture is None or canary.capture.expires_after_s >= planned * DAY_S:
        return
    here.warn(
        f"{canary.capture.expires_after_s / DAY_S:.3g}d is shorter than the plan's {planned} days, and a "
        "pair that expires unlabelled ends what counts of its category for judged_preference; write at least "
        f"{planned}d, or label every day",
        "capture",
        "expires_after",
    )


WEEK_DAYS = 7


def check_plan(canary: CanarySection, metrics: Mapping[str, Metric], here: CheckedDocument) -> None:
    """Record planned days that end before the verdict may be to ship; warn of less than a week before it."""
    least_days = conversion.minimum_days(canary)
    if canary.rubric and 0 < least_days < WEEK_DAYS:
        here.warn(
            f"{least_days:g} is less than a week, so a verdict to ship may rest on working days "
            f"alone, or on a weekend; write at least {WEEK_DAYS}",
            "minimum_days",
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
    here.complain(said, "planned_days")


def check_lanes(file: FileSection, found: CheckedDocument) -> None:
    """Record two canaries of one name, and every problem and warning of lanes."""
    for (_, one), (index, other) in combinations(enumerate(file.canaries), 2):
        if one.name == other.name:
            found.complain(f'two canaries are named "{one.name}"; rename this one', "canaries", index, "name")
    known = {
        each.name: (found.below("canaries", index), each)
        for index, each in enumerate(file.canaries)
        if not each.standing
    }
    canaries = [conversion.canary(section) for _, section in known.values()]
    for group in groups(canaries):
        _check_group([known[each.name] for each in group], sizes(group))


def _check_group(members: list[tuple[CheckedDocument, CanarySection]], parts: dict[str, float]) -> None:
    _, first = members[0]
    declared = sum(each.lane or 0.0 for _, each in members)
    for here, each in members:
        if each.assignment == "header" and len(members) > 1:
            here.below("assignment").complain(
                "cannot be `header` where other canaries match the same requests: a request has one arm; "
                "separate them by models, paths, headers or tags"
            )
    for here, each in members[1:]:
        for key in ("unit", "session", "no_unit"):
            if getattr(each, key) != getattr(first, key):
                message = f'differs from "{first.name}", which takes the same requests; both need the same'
                here.complain(message, key)
    if declared > 1.0 + 1e-9:
        places = {here.at: here for here, each in members if each.lane is not None}
        names = ", ".join(f'"{each.name}"' for _, each in members if each.lane is not None)
        told = f"the lanes of {names} add up to {declared:.4g}; they may have 1 in all"
        return places[max(places)].complain(told, "lane")
    for here, each in members:
        others = ", ".join(f'"{other.name}"' for _, other in members if other is not each)
        if each.lane is None and parts[each.name] < 1e-6:
            here.complain(
                f"gets no lane: {others} take all units of the same requests; give it other requests, or "
                "make the lane of a canary that has not started smaller"
            )
        elif declared == 0.0:
            here.below("match").warn(
                f"takes the same requests as {others}: each gets a lane of its own, {parts[each.name]:.3g} "
                "of the units, if none of them has started. If this is meant, write `lane:` for those that "
                "have not started; else separate them by models, paths, headers or tags"
            )
    return None
