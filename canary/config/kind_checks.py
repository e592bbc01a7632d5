"""Checks of what a kind of provider entry needs: API, project, region."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from canary.config import build
from canary.config.errors import Path
from canary.config.salvage import Salvage
from canary.config.sections import CanarySection, FileSection, ProviderSection
from proxy.dialects.operation import Api
from proxy.providers.provider import Kind
from proxy.providers.urls import takes_from

_APIS: Mapping[Kind, tuple[Api, ...]] = {
    "azure": ("openai", "anthropic"),
    "bedrock": ("openai", "anthropic"),
    "vertex": ("gemini", "anthropic"),
}
_WITH_REGION = ("vertex", "bedrock")
_GLOBAL = "aiplatform.googleapis.com"
_REGIONAL = re.compile(rf"(?P<region>[a-z0-9-]+)-{re.escape(_GLOBAL)}")


def check_kind(name: str, provider: ProviderSection, found: Salvage) -> None:
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
    if provider.kind == "bedrock" and build.own_auth_of(provider) == "aws" and provider.region is None:
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


def check_forms(file: FileSection, canary: CanarySection, path: Path, found: Salvage) -> None:
    """Warn of a canary's paths that its candidate's entry has in no form, so that they stay outside it."""
    sections = [file.providers.get(arm.provider) for arm in (canary.baseline, canary.candidate)]
    if sections[0] is None or sections[1] is None or sections[0] is sections[1]:
        return
    baseline, candidate = (build.provider("", section) for section in sections if section is not None)
    for index, each in enumerate(canary.match.paths):
        if not takes_from(baseline, candidate, each):
            message = (
                f'stays outside this canary, because "{canary.candidate.provider}" '
                f"(`kind: {candidate.kind}`) has no such operation"
            )
            found.warn((*path, "match", "paths", index), message)
