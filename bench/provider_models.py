"""Asks a configured provider for its models, with its own credential."""

import asyncio
from collections.abc import Mapping, Sequence

from bench.asking import NO_AUTH
from bench.listing import Catalogue, ListedModel, Unlisted, listed
from bench.targets import EntryAuth, NoKey, client_for, entry_auth, headers_for, key_of, root_of
from proxy.provider import Provider


async def models_of(provider: Provider, environment: Mapping[str, str]) -> Sequence[ListedModel]:
    """The provider's models. Raises Unlisted, whose message names the provider and the cause."""
    if provider.kind != "plain":
        raise Unlisted(f"{provider.name}: the models of a `kind: {provider.kind}` cannot be listed")
    auth = None
    try:
        auth = await asyncio.to_thread(entry_auth, provider)
        where = _catalogue(provider, auth, environment)
        async with client_for(provider, at_once=1) as client, asyncio.timeout(provider.timeout.total_s):
            return await listed(client, where)
    except NoKey as problem:
        raise Unlisted(str(problem)) from problem
    except TimeoutError as problem:
        raise Unlisted(f"{provider.name}: no answer in time") from problem
    finally:
        if auth is not None:
            auth.close()


def _catalogue(provider: Provider, auth: EntryAuth | None, environment: Mapping[str, str]) -> Catalogue:
    """Where the models are listed. Raises NoKey."""
    return Catalogue(
        name=provider.name,
        api=provider.api,
        url=root_of(provider),
        headers=headers_for(provider, "" if auth is not None else key_of(provider, environment)),
        auth=auth or NO_AUTH,
    )
