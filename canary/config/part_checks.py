"""Checks of parts of the file: feedback mappings, and a canary's arms (what a kind of provider entry needs,
one way for each member of `request:`), what it captures, and what its judge judges."""

import json
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from bench.settings import same_model
from canary.config import conversion
from canary.config.errors import Path
from canary.config.quantity import CANARY_NAME, suggestion
from canary.config.schema import CheckedDocument
from canary.config.sections import (
    CanarySection,
    CaptureSection,
    FileSection,
    MappedValueSection,
    PromptSection,
    ProviderSection,
    RequestSection,
)
from proxy.dialects.operation import Api
from proxy.providers.provider import Kind
from proxy.providers.urls import takes_from
from records.captures.patterns import BadPattern, pattern
from records.errors import BadFeedback
from records.facts.feedback import SUBJECTS, on_scale
from records.facts.feedback_mapping import MEMBERS
from records.facts.metric import (
    JUDGED,
    JUDGED_MARK,
    JUDGED_PREFERENCE,
    PREDICTED_BY,
    SESSION_DONE,
    Metric,
)

_APIS: Mapping[Kind, tuple[Api, ...]] = {
    "azure": ("openai", "anthropic"),
    "bedrock": ("openai", "anthropic"),
    "vertex": ("gemini", "anthropic"),
}
_WITH_REGION = ("vertex", "bedrock")
_GLOBAL = "aiplatform.googleapis.com"
_REGIONAL = re.compile(rf"(?P<region>[a-z0-9-]+)-{re.escape(_GLOBAL)}")


def check_kind(provider: ProviderSection, here: CheckedDocument) -> None:
    """Record every problem of an entry with its kind."""
    kind = provider.kind
    if kind != "vertex" and provider.project is not None:
        here.complain("belongs to `kind: vertex`; remove it, or set the kind", "project")
    if kind not in _WITH_REGION and provider.region is not None:
        here.complain("belongs to `kind: vertex` and `kind: bedrock`; remove it, or set the kind", "region")
    if kind != "plain" and provider.api not in _APIS[kind]:
        serves = " and ".join(f"`api: {api}`" for api in _APIS[kind])
        here.complain(f"`kind: {kind}` serves {serves} only", "api")
    if kind == "vertex":
        if provider.project is None:
            here.complain("has no project, which the URLs of `kind: vertex` name; set `project`")
        _check_location(provider, here)
    if kind == "bedrock" and conversion.own_auth_of(provider) == "aws" and provider.region is None:
        here.complain("has no region, which the signature for Bedrock names; set `region`")


def _check_location(provider: ProviderSection, here: CheckedDocument) -> None:
    """A regional host serves its own region only; the global host serves `global`."""
    try:
        host = urlsplit(provider.base_url).hostname or ""
    except ValueError:
        return
    regional = _REGIONAL.fullmatch(host)
    if regional and provider.region not in (None, regional["region"]):
        here.complain(f"is not the region of its host; write `region: {regional['region']}`", "region")
    if provider.region is None and host != _GLOBAL:
        wanted = regional["region"] if regional else "europe-west4"
        here.complain(f"has no region, which the URLs of `kind: vertex` name; set it, as `region: {wanted}`")


def wrong_with_name(name: str, providers: Mapping[str, ProviderSection]) -> str | None:
    """Why an entry cannot have this name: Bedrock's own paths begin with it."""
    if name == "model" and any(each.kind == "bedrock" for each in providers.values()):
        return '"model" begins the paths of Bedrock, of which there is an entry; choose another name'
    return None


def check_forms(file: FileSection, canary: CanarySection, here: CheckedDocument) -> None:
    """Warn of a canary's paths that its candidate's entry has in no form, so that they stay outside it."""
    sections = [file.providers.get(arm.provider) for arm in (canary.baseline, canary.candidate)]
    if sections[0] is None or sections[1] is None or sections[0] is sections[1]:
        return
    baseline, candidate = (conversion.provider("", section) for section in sections if section is not None)
    for index, each in enumerate(canary.match.paths):
        if not takes_from(baseline, candidate, each):
            message = (
                f'stays outside this canary, because "{canary.candidate.provider}" '
                f"(`kind: {candidate.kind}`) has no such operation"
            )
            here.warn(message, "match", "paths", index)


_ELSEWHERE = {
    "model": "the arm's `model` says which model is asked",
    "stream": "the caller decides about streaming",
}
"""Members that have their own place, and which that is."""


WINDOWS = "has the line ends of Windows (CRLF), which your app hardly sends: they are part of the text"
"""What is said of a text to find."""


def check_prompt(section: PromptSection, here: CheckedDocument) -> None:
    """Record a prompt that replaces nothing, and warn of one that hardly stands in any request."""
    if not section.find.text:
        here.complain("is empty; it must have a text of the prompt that your app sends", "find")
    elif section.find.text == section.put.text:
        here.complain("has the same text as `find`, so nothing would change", "put")
    elif "\r\n" in section.find.text:
        here.warn(WINDOWS, "find")


def check_request(section: RequestSection, here: CheckedDocument) -> None:
    """Record every problem of one arm's `request:`."""
    _check_renames(section, here.below("rename"))
    for index, name in enumerate(section.remove):
        _check_removed(section, index, name, here.below("remove", index))
    for key, given in (("set", section.set), ("default", section.default)):
        for name, value in given.items():
            place = here.below(key, name)
            _check_name(name, place)
            outer, dot, inner = name.partition(".")
            if dot and outer in given:
                place.complain(f'"{outer}" is given as a whole; write {inner} inside its value')
            if not _is_sendable(json.dumps(value, ensure_ascii=False)):
                place.complain("has a character that is not valid in UTF-8")
    for name in section.default:
        if name in section.set:
            here.complain(f'"{name}" is also set, so the default never applies; remove it', "default", name)


def _check_name(name: str, here: CheckedDocument) -> None:
    if problem := _wrong_with_name(name):
        here.complain(problem)


def _wrong_with_name(name: str) -> str | None:
    parts = name.split(".")
    if "" in parts:
        return f'"{name}" has an empty part; write "OUTER.MEMBER", for example "text.verbosity"'
    if len(parts) > 2:
        right = ".".join(parts[:2])
        return f'"{name}" has more than one dot; members are top-level or one level down, so write "{right}"'
    if parts[0] in _ELSEWHERE:
        return f'"{parts[0]}" cannot be changed here, because {_ELSEWHERE[parts[0]]}; remove it'
    return None


def _is_sendable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_removed(section: RequestSection, index: int, name: str, here: CheckedDocument) -> None:
    """A member that is changed in another way too, which this one would undo or forestall."""
    _check_name(name, here)
    if name in section.set:
        here.complain(f'"{name}" is also set; keep one of the two (`set` replaces what the caller sent)')
    if name in section.remove[:index]:
        here.complain(f'"{name}" is listed twice')
    if name in section.rename:
        here.complain(f'"{name}" is also renamed, so nothing is left to remove; keep one of the two')
    elif name in section.rename.values():
        here.complain(f'another member is renamed to "{name}", and would be removed; keep one of the two')


def _check_renames(section: RequestSection, here: CheckedDocument) -> None:
    """Renames whose result would depend on their order, which a mapping does not have."""
    targets: dict[str, str] = {}
    for name, new in section.rename.items():
        place = here.below(name)
        _check_name(name, place)
        _check_name(new, place)
        if new == name:
            place.complain(f'"{name}" is renamed to itself; remove it')
        elif new in section.rename:
            place.complain(f'"{new}" is renamed as well; write the final name of each')
        elif new in targets:
            told = f'"{targets[new]}" is also renamed to "{new}", and only one can be; remove the other'
            place.complain(told)
        targets.setdefault(new, name)


def check_captures(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem of the patterns, and of the captures of models that no canary takes."""
    _check_patterns(file.redact, found.below("redact"))
    first: dict[str, int] = {}
    for index, section in enumerate(file.capture):
        check_capture(section, found.below("capture", index))
        for place, model in enumerate(section.models):
            if model in first:
                message = f'"{model}" is already listed in capture[{first[model]}]'
                found.complain(message, "capture", index, "models", place)
            first.setdefault(model, index)


def check_capture(section: CaptureSection, here: CheckedDocument) -> None:
    """Record every problem of one `capture`."""
    if not (section.rate or section.per_category or here.cut_below()):
        here.complain("captures nothing; set a rate, for example `rate: 1%`, or per_category")
    _check_patterns(section.redact, here.below("redact"))


def _check_patterns(patterns: Sequence[str], here: CheckedDocument) -> None:
    for index, text in enumerate(patterns):
        try:
            pattern(text)
        except BadPattern as error:
            here.complain(str(error), index)


def check_judge(file: FileSection, found: CheckedDocument) -> None:
    """Record what is wrong with the judge itself."""
    if file.judge is None:
        return
    found.must_know_provider(file.judge.provider, "judge", "provider")
    if not any(canary.judge is not None for canary in file.canaries):
        found.warn(
            "judges nothing: give a canary `judge: {pairs: 200}`, of agents `judge: {sessions: 50}`", "judge"
        )


def check_probes(file: FileSection, found: CheckedDocument) -> None:
    """Record the models to probe of which nobody can say at which entry they are."""
    names, at = found.names("providers"), dict[str, set[str]]()
    for arm in (arm for canary in file.canaries for arm in (canary.baseline, canary.candidate)):
        at.setdefault(arm.model or "", set()).add(arm.provider)
    for index, text in enumerate(file.probes.models if file.probes is not None else ()):
        provider, slash, _ = text.partition("/")
        if (slash and provider in names) or len(at.get(text, names)) == 1:
            continue
        entries = sorted(at.get(text, names))
        message = (
            f'"{text}" may be at {" or ".join(entries)}; write it as {(entries or ["PROVIDER"])[0]}/{text}'
        )
        found.complain(message, "probes", "models", index)


def check_judging(file: FileSection, canary: CanarySection, here: CheckedDocument) -> None:
    """Record what is wrong with the judging of one canary."""
    _check_rows(canary, here)
    terms, place = canary.judge, here.below("judge")
    if terms is None:
        return
    if file.judge is None and not here.root.cut_below("judge"):
        place.complain(
            "has no judge: name one at the top of the file, as "
            "`judge: {provider: …, model: …, daily_budget: 5.00}`"
        )
    if sum(each is not None for each in (terms.pairs, terms.answers, terms.sessions)) != 1:
        place.complain(
            "give one of `pairs` (of mirrored requests), `answers` (single ones of both arms) "
            "and `sessions` (whole ones of both)"
        )
    if canary.capture is None and not here.cut_below("capture"):
        place.complain("has no texts to judge; set `capture`, for example `capture: {rate: 10%}`")
    elif terms.sessions is not None and canary.capture is not None and not canary.capture.rate:
        message = "needs whole sessions, which `capture` draws by its `rate`, for example `rate: 10%`"
        place.complain(message, "sessions")
    if terms.pairs is not None and not canary.mirror and not here.cut_below("mirror"):
        message = "needs `mirror`, for example `mirror: 10%`; without it, write `judge: {answers: 200}`"
        place.complain(message, "pairs")
    if file.judge is None:
        return
    for key, arm in (("baseline", canary.baseline), ("candidate", canary.candidate)):
        if same_model(arm.model, file.judge.model):
            message = f"the judge is {file.judge.model}, this canary's {key}; no model judges its own answers"
            place.complain(message)


def _check_rows(canary: CanarySection, here: CheckedDocument) -> None:
    """A row needs what it is about to be judged; a preference is a comparison already."""
    needed = {JUDGED_PREFERENCE: "pairs", JUDGED_MARK: "answers"}
    predicts = {JUDGED_MARK: "answers", SESSION_DONE: "sessions"}
    for index, row in enumerate(canary.rubric):
        place = here.below("rubric", index)
        if row.assisted is not None:
            key = predicts.get(PREDICTED_BY.get(row.metric, ""))
            if key is None:
                names = " and ".join(PREDICTED_BY)
                place.complain(f"a judge predicts {names} only; leave it out of {row.metric}", "assisted")
            elif canary.judge is None or getattr(canary.judge, key) is None:
                place.complain(f"needs `judge: {{{key}: 200}}` in this canary", "assisted")
        if row.metric not in JUDGED:
            continue
        key = needed[row.metric]
        if row.metric == JUDGED_MARK:
            message = (
                "is never decided, so no verdict says ship while the rubric has this row: people label "
                'pairs, not single answers; write judged_preference, with a share as its bound (">= 45%"), '
                "`mirror` and `judge: {pairs: 200}`, or remove the row: the report shows the marks without it"
            )
            place.warn(message, "metric")
        if canary.judge is None or getattr(canary.judge, key) is None:
            place.complain(f"needs `judge: {{{key}: 200}}` in this canary", "metric")
        for name in ("acceptable", "ideal") if row.metric == JUDGED_PREFERENCE else ():
            if getattr(row, name).relative:
                message = 'compares both arms already, so its bound is a share, for example ">= 45%"'
                place.complain(message, name)


def check_mappings(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem of the feedback mappings."""
    metrics = conversion.declared_metrics(file)
    for name, section in file.feedback_mappings.items():
        here = found.below("feedback_mappings", name)
        if not CANARY_NAME.fullmatch(name):
            here.complain_of_name(f'"{name}" is part of a URL; use letters, digits, . _ and -')
        if len([each for each in SUBJECTS if each in section.map]) != 1:
            here.complain(f"needs exactly one of {', '.join(SUBJECTS)}", "map")
        if not section.map.keys() - set(MEMBERS):
            here.complain("has no metric, such as `csat: COLUMN`", "map")
        for member, value in section.map.items():
            _check_mapped(member, value, metrics, here.below("map", member))


def _check_mapped(
    name: str, section: MappedValueSection, metrics: Mapping[str, Metric], here: CheckedDocument
) -> None:
    """Record each problem of one entry of a mapping's `map`."""
    constant = section.value is not None or section.when is not None
    if constant == (section.column is not None):
        here.complain("needs a column (`from`), or else a constant (`value`, `when`)")
    if section.values and (constant or section.scale != 1.0):
        here.complain("stands with `from` alone", "values")
    if name in MEMBERS:
        if constant or section.values or section.scale != 1.0:
            here.complain("is taken from a column as it stands; write its name only")
    elif (metric := metrics.get(name)) is None:
        near = suggestion(name, list(metrics))
        here.complain(f'"{name}" is neither a metric nor one of {", ".join(MEMBERS)}{near}')
    elif metric.cost_per:
        here.complain(f'"{name}" is computed from costs; map "{metric.cost_per}"')
    else:
        _check_scale(section, metric, here)


def _check_scale(section: MappedValueSection, metric: Metric, here: CheckedDocument) -> None:
    """Record each value that is not on the metric's scale."""
    given: list[tuple[Path, bool | int | float]]
    given = [(("values", text), value) for text, value in section.values.items()]
    if section.value is not None:
        given.append((("value",), section.value))
    if section.when is not None and section.value is None:
        given.append((("when",), True))
    for key, value in given:
        try:
            on_scale(metric, value)
        except BadFeedback as problem:
            here.complain(problem.message, *key)
