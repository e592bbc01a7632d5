"""Checks of the callers: names, keys and entries; and no entry may send a caller's key to its provider."""

from collections.abc import Iterator

from canary.config.build import own_auth_of
from canary.config.errors import Path
from canary.config.names import CANARY_NAME
from canary.config.nearest import suggestion
from canary.config.salvage import Salvage
from canary.config.sections import CanarySection, FileSection
from routing.caller import TAG


def check_callers(file: FileSection, found: Salvage) -> None:
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


def _check_names(file: FileSection, found: Salvage) -> None:
    seen: set[str] = set()
    for index, caller in enumerate(file.callers):
        path = ("callers", index, "name")
        if not CANARY_NAME.fullmatch(caller.name):
            found.complain(path, "a caller's name may contain letters, digits, . _ and -, at most 63")
        elif caller.name in seen:
            found.complain(path, _twice(caller.name))
        seen.add(caller.name)


def _twice(name: str) -> str:
    return (
        f'two callers are named "{name}"; for a second key of the same caller, put both digests into one '
        "`key_sha256: [old, new]`, and for another caller choose another name"
    )


def _check_keys(file: FileSection, found: Salvage) -> None:
    owners: dict[str, str] = {}
    for index, caller in enumerate(file.callers):
        for digest in caller.key_sha256:
            if digest in owners:
                message = f"is a key of {owners[digest]} already; each caller needs a key of its own"
                found.complain(("callers", index, "key_sha256"), message)
            owners[digest] = caller.name


def _check_entries(file: FileSection, found: Salvage) -> None:
    """Each entry of a caller exists, and every entry has a credential of its own: the caller's is no key
    there."""
    known = found.names("providers")
    for index, caller in enumerate(file.callers):
        for place, name in enumerate(caller.providers or ()):
            if name not in known:
                message = f'there is no provider "{name}"{suggestion(name, known)}'
                found.complain(("callers", index, "providers", place), message)
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
