"""Rewrites one canary's name and arms in the config's text. Does not decide whether that is allowed."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from control.settings import CanarySettings


def rewritten(text: str, before: CanarySettings, after: CanarySettings) -> str:
    """The config's text with one canary's name and arms changed, and every other byte the same."""
    place = list(_scalars(text, before, after))
    for node, value in sorted(place, key=lambda each: -each[0].start_mark.index):
        text = text[: node.start_mark.index] + json.dumps(value) + text[node.end_mark.index :]
    return text


def _scalars(text: str, before: CanarySettings, after: CanarySettings) -> Iterator[tuple[yaml.Node, str]]:
    """Each YAML value that changes, with its new value."""
    canaries = _in(yaml.compose(text, Loader=yaml.SafeLoader), "canaries")
    for entry in canaries.value if canaries is not None else ():
        name = _in(entry, "name")
        if name is None or name.value != before.canary.name:
            continue
        yield name, after.canary.name
        for arm in ("baseline", "candidate"):
            was, becomes = getattr(before.canary, arm), getattr(after.canary, arm)
            for key in ("provider", "model"):
                node = _in(_in(entry, arm), key)
                if node is not None and getattr(was, key) != getattr(becomes, key):
                    yield node, getattr(becomes, key)


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
