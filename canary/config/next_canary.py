"""Writes the next model into a canary's entry in the config file. Measures nothing and starts nothing.

canary's state        users' model     the next model
rolled_back, ended    its baseline     becomes the candidate, under a new name
promoted              its candidate    becomes the candidate; the promoted model becomes the baseline
waiting, named NAME   its baseline     becomes the candidate, under a new name: the entry is the template
any other             its baseline     is refused: the canary has users, or nobody has started it yet
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from canary.config import Config, ConfigError, load
from canary.config.load import parse
from control.settings import CanarySettings
from records.errors import StoreDown
from routing.canary import Arm
from routing.states import State


def rewritten(text: str, before: CanarySettings, after: CanarySettings) -> str:
    """The config's text with one canary's name and arms changed, `start: manual` where it newly waits for a
    person, and every other byte the same."""
    for begin, end, value in sorted(_changes(text, before, after), reverse=True):
        text = text[:begin] + value + text[end:]
    return text


def _changes(text: str, before: CanarySettings, after: CanarySettings) -> Iterator[tuple[int, int, str]]:
    """Each part of the text that changes, from where to where, with what stands there then."""
    canaries = _in(yaml.compose(text, Loader=yaml.SafeLoader), "canaries")
    for entry in canaries.value if canaries is not None else ():
        name = _in(entry, "name")
        if name is None or name.value != before.canary.name:
            continue
        yield _instead(name, after.canary.name)
        if after.canary.start_by_hand and not before.canary.start_by_hand:
            yield _by_hand(entry)
        for arm in ("baseline", "candidate"):
            was, becomes = getattr(before.canary, arm), getattr(after.canary, arm)
            for key in ("provider", "model"):
                node = _in(_in(entry, arm), key)
                if node is not None and getattr(was, key) != getattr(becomes, key):
                    yield _instead(node, getattr(becomes, key))


def _instead(node: yaml.Node, value: str) -> tuple[int, int, str]:
    return node.start_mark.index, node.end_mark.index, json.dumps(value)


def _by_hand(entry: yaml.MappingNode) -> tuple[int, int, str]:
    """`start: manual`: in place of another value, else before the entry's first key."""
    start = _in(entry, "start")
    if start is not None:
        return start.start_mark.index, start.end_mark.index, "manual"
    first = entry.value[0][0].start_mark
    follows = ", " if entry.flow_style else f"\n{' ' * first.column}"
    return first.index, first.index, f"start: manual{follows}"


def _in(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def put(file: Path, text: str) -> None:
    """Replace the file atomically, because a server may be reading it. Keeps its mode and owner."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        shutil.copymode(file, beside)
        owner = file.stat()
        os.chown(beside, owner.st_uid, owner.st_gid)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


_OVER = ("rolled_back", "promoted", "ended")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
"""Model names that are safe to write into the YAML file."""

_NAME = 63


class NotNext(Exception):
    """The model cannot be written into the entry; the message says why."""


class NeverNext(NotNext):
    """No later change of the canaries' states will let the model follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """A sequence of canaries that share one entry: the present one, named `NAME` or `NAME-…`, and the state
    of every known canary."""

    name: str
    file: Path
    config: Config
    present: CanarySettings
    states: Mapping[str, State]

    @property
    def current(self) -> Arm:
        """The model that users have now."""
        canary = self.present.canary
        return canary.candidate if self._state == "promoted" else canary.baseline

    @property
    def _state(self) -> str:
        state = self.states.get(self.present.canary.name)
        return "not known to a server yet" if state is None else state.state

    def followed(self, provider: str, model: str, *, by_hand: bool = False) -> CanarySettings:
        """The canary that would try this model next; `by_hand`: a person must start it. Raises NotNext."""
        before = self.present.canary
        name = f"{self.name}-{re.sub('[^A-Za-z0-9._-]', '-', model)}"[:_NAME]
        template = self._state == "waiting" and before.start_by_hand and before.name == self.name
        if self._state not in _OVER and not template:
            raise NotNext(f"{before.name} is {self._state.replace('_', ' ')}, so no other canary follows it")
        if provider != before.candidate.provider or not _PLAIN.fullmatch(model):
            raise NotNext(f"{model} is not a plain model name at {before.candidate.provider}")
        if name in self.states:
            raise NeverNext(f"a canary named {name} existed before")
        by_hand = by_hand or before.start_by_hand
        if not by_hand and not self._watched:
            needs = "a rubric, a guardrail that rolls back, and notify"
            raise NotNext(f"{before.name} has start: auto, which needs {needs}")
        if self.current.request != before.baseline.request:
            raise NotNext(f"the promoted candidate of {before.name} has its own `request:`; move it by hand")
        baseline = self.current
        candidate = Arm(provider=provider, model=model, request=before.candidate.request)
        price = self.present.judged.candidate_price
        return replace(
            self.present,
            canary=replace(before, name=name, baseline=baseline, candidate=candidate, start_by_hand=by_hand),
            judged=replace(
                self.present.judged,
                name=name,
                baseline=baseline,
                candidate=candidate,
                candidate_price=price and replace(price, model=model),
            ),
        )

    @property
    def _watched(self) -> bool:
        rolls_back = any(rule.action == "rollback" for rule in self.present.guardrails)
        return bool(self.present.judged.criteria and rolls_back and self.config.notify)


def line_of(name: str, file: Path, data: Path, environment: Mapping[str, str]) -> Succession:
    """Read the entry of this name from the file, and the states from the store. Raises NotNext."""
    try:
        config = load(file, environment)
        found = [each for each in config.canaries if each == name or each.startswith(f"{name}-")]
        if len(found) != 1:
            raise NotNext(f"one canary of {file} must be named {name} or {name}-…, not {len(found)}")
        with closing(config.open_store(data)) as store:
            states = {each: known.state for each, known in store.states().items()}
    except (ConfigError, StoreDown) as problem:
        raise NotNext(str(problem)) from problem
    return Succession(name=name, file=file, config=config, present=config.canaries[found[0]], states=states)


def follow(
    name: str, file: Path, data: Path, environment: Mapping[str, str], *, model: str, by_hand: bool = False
) -> CanarySettings:
    """Write the model (`provider/model`) into the entry, for the server to load; `by_hand` also writes
    `start: manual`. Raises NotNext, and then leaves the file unchanged."""
    found = line_of(name, file, data, environment)
    provider, _, model = model.partition("/")
    following = found.followed(provider, model, by_hand=by_hand)
    try:
        changed = rewritten(file.read_text(encoding="utf-8"), found.present, following)
        _must_say(parse(changed, str(file), environment), found, following)
        put(file.resolve(), changed)
    except (ConfigError, OSError) as problem:
        raise NotNext(str(problem)) from problem
    return following


def _must_say(config: Config, found: Succession, following: CanarySettings) -> None:
    """Raises NotNext if the rewrite changed more than this canary, for example through a YAML alias."""
    others = {name: each for name, each in found.config.canaries.items() if each != found.present}
    if config.canaries != {**others, following.canary.name: following}:
        raise NotNext(f"the entry {found.present.canary.name} in {found.file} cannot be changed in place")
