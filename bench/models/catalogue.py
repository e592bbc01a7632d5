"""The models that a provider lists, asked with the provider entry's own credential."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import httpx2

from bench.errors import NoKey
from bench.models.asker import NO_AUTH, client_for, entry_auth, headers_for, key_of, root_of
from proxy.providers.provider import Provider

MOST_PAGES = 20


class ModelsNotListed(Exception):
    """A provider's list could not be read; the message says why."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model's name, the day on which the provider retires it (UTC), None if it names none, and the model
    that it names to follow it, "" for none."""

    name: str
    retires: date | None = None
    successor: str = ""


_RETIRES = ("shutdown_date", "deprecation", "expiration_date")
"""The members with a model's last day: OpenAI's, Mistral's and OpenRouter's. A date, a time, or null."""

_SUCCESSOR = "deprecation_replacement_model"
"""Mistral's member with the model's successor. A name, or null."""

_PATHS = {"openai": "/models", "anthropic": "/v1/models", "gemini": "/v1beta/models"}


async def listed(
    client: httpx2.AsyncClient, provider: Provider, headers: Mapping[str, str], auth: httpx2.Auth = NO_AUTH
) -> list[ListedModel]:
    """All models, read page by page. `headers` or `auth` have the credential. Raises Unlisted."""
    found: list[ListedModel] = []
    query: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        page = await _page(client, provider, headers=headers, auth=auth, params=query)
        try:
            entries = page["models" if provider.api == "gemini" else "data"]
            found += [
                ListedModel(_name(provider.api, entry), retirement(entry), successor_in(entry))
                for entry in entries
            ]
        except (KeyError, TypeError) as problem:
            raise ModelsNotListed(f"{provider.name}: the response is not a list of models") from problem
        following = _following(provider.api, page)
        if not following:
            break
        query = following
    return found


async def _page(client: httpx2.AsyncClient, provider: Provider, **asked: Any) -> dict[str, Any]:
    name = provider.name
    try:
        answer = await client.get(root_of(provider) + _PATHS[provider.api], **asked)
        if not answer.is_success:
            raise ModelsNotListed(f"{name}: listing its models failed with HTTP {answer.status_code}")
        page = answer.json()
    except httpx2.HTTPError as problem:
        raise ModelsNotListed(f"{name}: {type(problem).__name__}: {problem}") from problem
    except ValueError as problem:
        raise ModelsNotListed(f"{name}: the response is not JSON") from problem
    if not isinstance(page, dict):
        raise ModelsNotListed(f"{name}: the response is not a list of models")
    return page


def _name(api: str, entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).removeprefix("models/") if api == "gemini" else str(entry["id"])


def retirement(entry: Mapping[str, Any]) -> date | None:
    """The day on which a listed model retires; None if the entry names none that can be read."""
    for member in _RETIRES:
        value = entry.get(member)
        try:
            if isinstance(value, str):
                return date.fromisoformat(value[: len("2027-02-01")])
            if isinstance(value, int | float) and not isinstance(value, bool):
                return datetime.fromtimestamp(value, UTC).date()
        except (ValueError, OverflowError, OSError):
            continue
    return None


def successor_in(entry: Mapping[str, Any]) -> str:
    """The model that a listed one's provider names to follow it; "" for none."""
    value = entry.get(_SUCCESSOR)
    return value if isinstance(value, str) else ""


def _following(api: str, page: Mapping[str, Any]) -> dict[str, str]:
    """The query of the next page; empty after the last page."""
    if api == "gemini":
        token = page.get("nextPageToken")
        return {"pageToken": str(token)} if token else {}
    return {"after_id": str(page["last_id"])} if page.get("has_more") and page.get("last_id") else {}


async def models_of(provider: Provider, environment: Mapping[str, str]) -> Sequence[ListedModel]:
    """The provider's models. Raises Unlisted, whose message names the provider and the cause."""
    if provider.kind != "plain":
        raise ModelsNotListed(f"{provider.name}: the models of a `kind: {provider.kind}` cannot be listed")
    auth = None
    try:
        auth = await asyncio.to_thread(entry_auth, provider)
        headers = headers_for(provider, "" if auth is not None else key_of(provider, environment))
        async with client_for(provider, at_once=1) as client, asyncio.timeout(provider.timeout.total_s):
            return await listed(client, provider, headers, auth or NO_AUTH)
    except NoKey as problem:
        raise ModelsNotListed(str(problem)) from problem
    except TimeoutError as problem:
        raise ModelsNotListed(f"{provider.name}: no answer in time") from problem
    finally:
        if auth is not None:
            auth.close()
