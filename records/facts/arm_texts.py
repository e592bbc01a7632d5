"""The texts of arms whose canaries started, which stay whatever becomes of their files; and the file that
carries them to the processes of a machine (`texts.json`).

`records.store.arm_texts` has them. A text is known by its digest (`routing.canary.text_digest`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from common.whole_file import write_whole
from routing.canary import text_digest

FILE = "texts.json"
"""In the data folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTexts:
    """The texts by canary, then by file as the config names it."""

    by_canary: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def by_digest(self) -> Mapping[str, str]:
        """All texts."""
        return {text_digest(text): text for files in self.by_canary.values() for text in files.values()}

    def text(self, canary: str, file: str) -> str | None:
        """The text that this file had when the canary started; None if it did not start with it."""
        return self.by_canary.get(canary, {}).get(file)


NOTHING_KEPT = KeptTexts()


def write_texts(path: Path, texts: KeptTexts) -> None:
    """Replace the file, unless it says this already. Raises OSError."""
    data = msgspec.json.encode(texts, order="deterministic")
    try:
        if path.read_bytes() == data:
            return
    except FileNotFoundError:
        if not texts.by_canary:
            return
    write_whole(path, data, durable=False)  # the store has them


def read_texts(path: Path) -> KeptTexts | None:
    """Read the file; None where it is missing or unreadable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeptTexts)
    except (OSError, msgspec.DecodeError):
        return None
