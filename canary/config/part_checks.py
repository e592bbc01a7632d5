"""Checks of parts of the file: feedback mappings, and a canary's arms (what a kind of provider entry needs,
one way for each member of `request:`), what it captures, and what its judge judges."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit

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
from judge.terms import same_model
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


def check_kind(name: str, provider: ProviderSection, found: CheckedDocument) -> None:
    """Record every problem of an entry with its kind."""
    for key, message in (*_wrong_with_kind(provider), *_wrong_with_region(provider)):
        path: Path = ("providers", name) if key is None else ("providers", name, key)
        if key is None or not found.was_cut(path):
            found.complain(path, message)


def _wrong_with_kind(provider: ProviderSection) -> Iterator[tuple[str | None, str]]:
    kind = provider.kind
    if kind != "vertex" and provider.project is not None:
        yield "project", "belongs to `kind: vertex`; remove it, or set the kind"
    if kind not in _WITH_REGION and provider.region is not None:
        yield "region", "belongs to `kind: vertex` and `kind: bedrock`; remove it, or set the kind"
    if kind == "plain":
        return
    if provider.api not in _APIS[kind]:
        serves = " and ".join(f"`api: {api}`" for api in _APIS[kind])
        yield "api", f"`kind: {kind}` serves {serves} only"


def _wrong_with_region(provider: ProviderSection) -> Iterator[tuple[str | None, str]]:
    if provider.kind == "vertex":
        if provider.project is None:
            yield None, "has no project, which the URLs of `kind: vertex` name; set `project`"
        yield from _wrong_with_location(provider)
    if provider.kind == "bedrock" and conversion.own_auth_of(provider) == "aws" and provider.region is None:
        yield None, "has no region, which the signature for Bedrock names; set `region`"


def _wrong_with_location(provider: ProviderSection) -> Iterator[tuple[str | None, str]]:
    """A regional host serves its own region only; the global host serves `global`."""
    try:
        host = urlsplit(provider.base_url).hostname or ""
    except ValueError:
        return
    regional = _REGIONAL.fullmatch(host)
    if regional and provider.region not in (None, regional["region"]):
        yield "region", f"is not the region of its host; write `region: {regional['region']}`"
    if provider.region is None and host != _GLOBAL:
        wanted = regional["region"] if regional else "europe-west4"
        yield None, f"has no region, which the URLs of `kind: vertex` name; set it, as `region: {wanted}`"


def wrong_with_name(name: str, providers: Mapping[str, ProviderSection]) -> str | None:
    """Why an entry cannot have this name: Bedrock's own paths begin with it."""
    if name == "model" and any(each.kind == "bedrock" for each in providers.values()):
        return '"model" begins the paths of Bedrock, of which there is an entry; choose another name'
    return None


def check_forms(file: FileSection, canary: CanarySection, path: Path, found: CheckedDocument) -> None:
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
            found.warn((*path, "match", "paths", index), message)


_ELSEWHERE = {
    "model": "the arm's `model` says which model is asked",
    "stream": "the caller decides about streaming",
}
"""Members that have their own place, and which that is."""

_Names = Sequence[tuple[Path, str]]
"""Members' names with their places in the file."""


WINDOWS = "has the line ends of Windows (CRLF), which your app hardly sends: they are part of the text"
"""What is said of a text to find."""


def check_prompt(section: PromptSection, path: Path, found: CheckedDocument) -> None:
    """Record a prompt that replaces nothing, and warn of one that hardly stands in any request."""
    if not section.find.text:
        found.complain((*path, "find"), "is empty; it must have a text of the prompt that your app sends")
    elif section.find.text == section.put.text:
        found.complain((*path, "put"), "has the same text as `find`, so nothing would change")
    elif "\r\n" in section.find.text:
        found.warn((*path, "find"), WINDOWS)


def check_request(section: RequestSection, path: Path, found: CheckedDocument) -> None:
    """Record every problem of one arm's `request:`."""
    for place, name in _every_name(section, path):
        if problem := _wrong_with_name(name):
            found.complain(place, problem)
    for check in (_undecided, _without_effect, _wrong_with_renames):
        for place, problem in check(section, path):
            found.complain(place, problem)
    for key, given in (("set", section.set), ("default", section.default)):
        for name, value in given.items():
            if not _is_sendable(json.dumps(value, ensure_ascii=False)):
                found.complain((*path, key, name), "has a character that is not valid in UTF-8")


def _every_name(section: RequestSection, path: Path) -> _Names:
    return [
        *(((*path, "rename", name), each) for name, new in section.rename.items() for each in (name, new)),
        *(((*path, "remove", index), name) for index, name in enumerate(section.remove)),
        *(((*path, key, name), name) for key in ("set", "default") for name in getattr(section, key)),
    ]


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


def _undecided(section: RequestSection, path: Path) -> Iterator[tuple[Path, str]]:
    """Members that would be changed in two ways at once."""
    for index, name in enumerate(section.remove):
        place = (*path, "remove", index)
        if name in section.set:
            yield place, f'"{name}" is also set; keep one of the two (`set` replaces what the caller sent)'
        if name in section.remove[:index]:
            yield place, f'"{name}" is listed twice'
    for key in ("set", "default"):
        names = getattr(section, key)
        for name in names:
            outer, dot, inner = name.partition(".")
            if dot and outer in names:
                yield (*path, key, name), f'"{outer}" is given as a whole; write {inner} inside its value'


def _without_effect(section: RequestSection, path: Path) -> Iterator[tuple[Path, str]]:
    """Members whose change another change of the same arm always undoes or forestalls."""
    for index, name in enumerate(section.remove):
        place = (*path, "remove", index)
        if name in section.rename:
            yield place, f'"{name}" is also renamed, so nothing is left to remove; keep one of the two'
        elif name in section.rename.values():
            yield place, f'another member is renamed to "{name}", and would be removed; keep one of the two'
    for name in section.default:
        if name in section.set:
            yield (*path, "default", name), f'"{name}" is also set, so the default never applies; remove it'


def _wrong_with_renames(section: RequestSection, path: Path) -> Iterator[tuple[Path, str]]:
    """Renames whose result would depend on their order, which a mapping does not have."""
    targets: dict[str, str] = {}
    for name, new in section.rename.items():
        place = (*path, "rename", name)
        if new == name:
            yield place, f'"{name}" is renamed to itself; remove it'
        elif new in section.rename:
            yield place, f'"{new}" is renamed as well; write the final name of each'
        elif new in targets:
            yield place, f'"{targets[new]}" is also renamed to "{new}", and only one can be; remove the other'
        targets.setdefault(new, name)


def check_captures(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem of the patterns, and of the captures of models that no canary takes."""
    _check_patterns(file.redact, ("redact",), found)
    first: dict[str, int] = {}
    for index, section in enumerate(file.capture):
        check_capture(section, ("capture", index), found)
        for place, model in enumerate(section.models):
            if model in first:
                message = f'"{model}" is already listed in capture[{first[model]}]'
                found.complain(("capture", index, "models", place), message)
            first.setdefault(model, index)


def check_capture(section: CaptureSection, path: Path, found: CheckedDocument) -> None:
    """Record every problem of one `capture`."""
    if not (section.rate or section.per_category or found.cut_below(path)):
        found.complain(path, "captures nothing; set a rate, for example `rate: 1%`, or per_category")
    _check_patterns(section.redact, (*path, "redact"), found)


def _check_patterns(patterns: Sequence[str], path: Path, found: CheckedDocument) -> None:
    for index, text in enumerate(patterns):
        try:
            pattern(text)
        except BadPattern as error:
            found.complain((*path, index), str(error))


def check_judge(file: FileSection, found: CheckedDocument) -> None:
    """Record what is wrong with the judge itself."""
    judge = file.judge
    if judge is None:
        return
    names = list(found.names("providers"))
    if judge.provider not in names:
        found.complain(("judge", "provider"), f"is not in `providers`{suggestion(judge.provider, names)}")
    if not any(canary.judge is not None for canary in file.canaries):
        found.warn(
            ("judge",),
            "judges nothing: give a canary `judge: {pairs: 200}`, of agents `judge: {sessions: 50}`",
        )


def check_probes(file: FileSection, found: CheckedDocument) -> None:
    """Record the models to probe of which nobody can say at which entry they are."""
    names, at = list(found.names("providers")), dict[str, set[str]]()
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
        found.complain(("probes", "models", index), message)


def check_judging(file: FileSection, canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    """Record what is wrong with the judging of one canary."""
    _check_rows(canary, path, found)
    terms, place = canary.judge, (*path, "judge")
    if terms is None:
        return
    if file.judge is None and not found.cut_below(("judge",)):
        message = (
            "has no judge: name one at the top of the file, as "
            "`judge: {provider: …, model: …, daily_budget: 5.00}`"
        )
        found.complain(place, message)
    if sum(each is not None for each in (terms.pairs, terms.answers, terms.sessions)) != 1:
        message = (
            "give one of `pairs` (of mirrored requests), `answers` (single ones of both arms) "
            "and `sessions` (whole ones of both)"
        )
        found.complain(place, message)
    if canary.capture is None and not found.cut_below((*path, "capture")):
        found.complain(place, "has no texts to judge; set `capture`, for example `capture: {rate: 10%}`")
    elif terms.sessions is not None and canary.capture is not None and not canary.capture.rate:
        message = "needs whole sessions, which `capture` draws by its `rate`, for example `rate: 10%`"
        found.complain((*place, "sessions"), message)
    if terms.pairs is not None and not canary.mirror and not found.cut_below((*path, "mirror")):
        message = "needs `mirror`, for example `mirror: 10%`; without it, write `judge: {answers: 200}`"
        found.complain((*place, "pairs"), message)
    if file.judge is None:
        return
    for key, arm in (("baseline", canary.baseline), ("candidate", canary.candidate)):
        if same_model(arm.model, file.judge.model):
            message = f"the judge is {file.judge.model}, this canary's {key}; no model judges its own answers"
            found.complain(place, message)


def _check_rows(canary: CanarySection, path: Path, found: CheckedDocument) -> None:
    """A row needs what it is about to be judged; a preference is a comparison already."""
    needed = {JUDGED_PREFERENCE: "pairs", JUDGED_MARK: "answers"}
    predicts = {JUDGED_MARK: "answers", SESSION_DONE: "sessions"}
    for index, row in enumerate(canary.rubric):
        if row.assisted is not None:
            place, key = (*path, "rubric", index, "assisted"), predicts.get(PREDICTED_BY.get(row.metric, ""))
            if key is None:
                names = " and ".join(PREDICTED_BY)
                found.complain(place, f"a judge predicts {names} only; leave it out of {row.metric}")
            elif canary.judge is None or getattr(canary.judge, key) is None:
                found.complain(place, f"needs `judge: {{{key}: 200}}` in this canary")
        if row.metric not in JUDGED:
            continue
        place, key = (*path, "rubric", index), needed[row.metric]
        if row.metric == JUDGED_MARK:
            message = (
                "is never decided, so no verdict says ship while the rubric has this row: people label "
                'pairs, not single answers; write judged_preference, with a share as its bound (">= 45%"), '
                "`mirror` and `judge: {pairs: 200}`, or remove the row: the report shows the marks without it"
            )
            found.warn((*place, "metric"), message)
        if canary.judge is None or getattr(canary.judge, key) is None:
            found.complain((*place, "metric"), f"needs `judge: {{{key}: 200}}` in this canary")
        for name in ("acceptable", "ideal") if row.metric == JUDGED_PREFERENCE else ():
            bound = getattr(row, name)
            if bound.relative:
                message = 'compares both arms already, so its bound is a share, for example ">= 45%"'
                found.complain((*place, name), message)


def check_mappings(file: FileSection, found: CheckedDocument) -> None:
    """Record every problem of the feedback mappings."""
    metrics = conversion.declared_metrics(file)
    for name, section in file.feedback_mappings.items():
        path: Path = ("feedback_mappings", name)
        if not CANARY_NAME.fullmatch(name):
            found.complain_of_name(path, f'"{name}" is part of a URL; use letters, digits, . _ and -')
        if len([each for each in SUBJECTS if each in section.map]) != 1:
            found.complain((*path, "map"), f"needs exactly one of {', '.join(SUBJECTS)}")
        if not section.map.keys() - set(MEMBERS):
            found.complain((*path, "map"), "has no metric, such as `csat: COLUMN`")
        for member, value in section.map.items():
            for key, message in _wrong_with_mapped(member, value, metrics):
                found.complain((*path, "map", member, *key), message)


def _wrong_with_mapped(
    name: str, section: MappedValueSection, metrics: Mapping[str, Metric]
) -> Iterator[tuple[Path, str]]:
    """Each problem of one entry of a mapping's `map`, with its key below it."""
    constant = section.value is not None or section.when is not None
    if constant == (section.column is not None):
        yield (), "needs a column (`from`), or else a constant (`value`, `when`)"
    if section.values and (constant or section.scale != 1.0):
        yield ("values",), "stands with `from` alone"
    if name in MEMBERS:
        if constant or section.values or section.scale != 1.0:
            yield (), "is taken from a column as it stands; write its name only"
        return
    metric = metrics.get(name)
    if metric is None:
        yield (
            (),
            f'"{name}" is neither a metric nor one of {", ".join(MEMBERS)}{suggestion(name, list(metrics))}',
        )
        return
    if metric.cost_per:
        yield (), f'"{name}" is computed from costs; map "{metric.cost_per}"'
        return
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
            yield key, problem.message
