"""`make docs-version SITE=FOLDER`: this version's site in FOLDER/VERSION, beside those of other versions.

The theme's selector reads FOLDER/versions.json, in the format of mike; FOLDER/ itself leads to the newest.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_VERSION = re.compile(r"\d+(?:\.\d+)+")


def on_config(config: Any) -> Any:
    if folder := os.environ.get("DOCS_VERSIONS"):
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        config.site_dir = str(Path(folder, version))
        config.extra["version"] = {"provider": "mike"}
    return config


def on_post_build(config: Any) -> None:
    if folder := os.environ.get("DOCS_VERSIONS"):
        listed = versions(path.name for path in Path(folder).iterdir() if path.is_dir())
        Path(folder, "versions.json").write_text(json.dumps(listed))
        newest = f'<!doctype html><meta http-equiv="refresh" content="0; url={listed[0]["version"]}/">'
        Path(folder, "index.html").write_text(newest)


def versions(names: Iterable[str]) -> list[dict[str, Any]]:
    """The folders' names that are versions, newest first, as the theme's selector wants them."""
    found = sorted(
        filter(_VERSION.fullmatch, names), key=lambda name: [*map(int, name.split("."))], reverse=True
    )
    return [{"version": name, "title": name, "aliases": ["latest"] * (name == found[0])} for name in found]
