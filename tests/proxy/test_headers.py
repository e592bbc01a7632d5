"""Which headers travel, which way, and whose credential goes along."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.credentials import Credentials, UnsignedRequest
from proxy.providers.headers import quoted, request_id_of, to_caller, to_provider, without_key
from proxy.providers.provider import Provider
from tests.proxy.calls import ANTHROPIC, AZURE, CLAUDE, GEMINI, OPENAI, VERTEX

HOP_BY_HOP = [
    (b"connection", b"keep-alive"),
    (b"keep-alive", b"timeout=5"),
    (b"proxy-authenticate", b"Basic"),
    (b"proxy-authorization", b"Basic eA=="),
    (b"proxy-connection", b"keep-alive"),
    (b"te", b"trailers"),
    (b"trailer", b"x-checksum"),
    (b"transfer-encoding", b"chunked"),
    (b"upgrade", b"h2c"),
]
OURS = [
    (b"x-canary-unit", b"u1"),
    (b"x-canary-session", b"s1"),
    (b"x-canary-category", b"billing"),
    (b"x-canary-tags", b"region=eu"),
    (b"x-canary-request-id", b"r1"),
    (b"x-canary-pin", b"candidate"),
    (b"x-canary-pin-token", b"secret"),
    (b"x-canary-exchange", b"forged"),
    (b"x-canary-arm", b"forged"),
    (b"x-canary-anything-else", b"x"),
]
CREDENTIALS = [
    (b"authorization", b"Bearer sk-caller"),
    (b"x-api-key", b"sk-caller"),
    (b"api-key", b"sk-caller"),
    (b"x-goog-api-key", b"sk-caller"),
    (b"x-goog-user-project", b"caller"),
    (b"x-goog-iam-authorization-token", b"sk-caller"),
    (b"cookie", b"session=sk-caller"),
    (b"openai-organization", b"org-caller"),
    (b"x-amz-date", b"20261126T000000Z"),
    (b"x-amz-content-sha256", b"e3b0"),
    (b"openai-project", b"proj-caller"),
    (b"my-gateway-authorization", b"Bearer sk-caller"),
    (b"cf-access-client-secret", b"sk-caller"),
    (b"x-amz-security-token", b"sk-caller"),
    (b"ocp-apim-subscription-key", b"sk-caller"),
]
STEERING = [
    (b"x-portkey-config", b'{"provider": "openai"}'),
    (b"x-portkey-custom-host", b"https://elsewhere.example"),
    (b"x-portkey-api-key", b"pk-caller"),
    (b"helicone-target-url", b"https://elsewhere.example"),
    (b"helicone-auth", b"Bearer hk-caller"),
    (b"cf-aig-cache-key", b"k"),
    (b"x-litellm-tags", b"t"),
    (b"x-bf-vk", b"v"),
    (b"x-envoy-original-path", b"/admin"),
    (b"x-http-method-override", b"DELETE"),
    (b"x-http-method", b"DELETE"),
    (b"x-method-override", b"DELETE"),
    (b"x-original-url", b"/admin"),
    (b"x-rewrite-url", b"/admin"),
    (b"azureml-model-deployment", b"other"),
]
PLAIN = [
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, br"),
    (b"x-litellm-session-id", b"s-1"),
    (b"anthropic-beta", b"context-1m-2025-08-07"),
    (b"anthropic-beta", b"files-api-2025-04-14"),
    (b"anthropic-version", b"2026-10-21"),
    (b"content-type", b"application/json"),
    (b"idempotency-key", b"i-1"),
    (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    (b"user-agent", b"OpenAI/Python 3.57.0"),
    (b"x-request-id", b"r-1"),
    (b"x-stainless-retry-count", b"1"),
]
OF_THE_PROVIDER = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"openai-processing-ms", b"312"),
    (b"request-id", b"req_1"),
    (b"retry-after", b"7"),
    (b"vary", b"origin"),
    (b"vary", b"accept-encoding"),
    (b"www-authenticate", b"Bearer"),
    (b"x-ratelimit-remaining-requests", b"99"),
    (b"x-should-retry", b"true"),
]


def sent_to(
    headers: list[tuple[bytes, bytes]], provider: Provider, *, identity: bool
) -> list[tuple[bytes, bytes]]:
    """The headers for this provider, with its own credential if it has one."""
    sent = to_provider(headers, provider, identity=identity, own_key=provider.has_credential)
    credential = Credentials().of(provider)
    if credential is None:
        return sent
    return sent + credential.headers(UnsignedRequest(method=b"POST", target=b"/", headers=sent, body=b""))


@pytest.mark.parametrize("provider", [OPENAI, AZURE], ids=["callers-key", "own-key"])
def test_hop_by_hop_headers_end_here_on_the_way_out(provider: Provider) -> None:
    sent = sent_to(
        [*HOP_BY_HOP, *PLAIN, (b"host", b"proxy"), (b"expect", b"100-continue")], provider, identity=False
    )
    assert sent[: len(PLAIN)] == PLAIN
    assert {name for name, _ in sent[len(PLAIN) :]} <= {b"authorization"}


def test_hop_by_hop_headers_end_here_on_the_way_back() -> None:
    assert to_caller([*HOP_BY_HOP, *OF_THE_PROVIDER], []) == OF_THE_PROVIDER


@pytest.mark.parametrize(
    "connection",
    [[b"X-Secret, close"], [b"close,x-secret"], [b"keep-alive", b" X-SECRET "], [b",, x-secret,"]],
)
def test_what_connection_names_ends_here_too(connection: list[bytes]) -> None:
    named = [*((b"connection", value) for value in connection), (b"x-secret", b"1"), (b"x-kept", b"2")]
    assert sent_to(named, OPENAI, identity=False) == [(b"x-kept", b"2")]
    assert to_caller(named, []) == [(b"x-kept", b"2")]


def test_the_proxys_own_headers_are_neither_forwarded_nor_believed() -> None:
    assert sent_to([*OURS, *PLAIN], OPENAI, identity=False) == PLAIN
    ours = [(b"x-canary-exchange", b"real"), (b"x-canary-arm", b"baseline")]
    assert to_caller([*OURS, *OF_THE_PROVIDER], ours) == [*OF_THE_PROVIDER, *ours]


def test_without_a_key_of_its_own_an_entry_gets_the_callers_credentials_untouched() -> None:
    assert sent_to([*CREDENTIALS, *PLAIN], OPENAI, identity=False) == [*CREDENTIALS, *PLAIN]


@pytest.mark.parametrize(
    ("provider", "credential"),
    [
        (AZURE, (b"authorization", b"Bearer sk-azure-own")),
        (CLAUDE, (b"x-api-key", b"sk-claude-own")),
        (VERTEX, (b"x-goog-api-key", b"goog-own")),
    ],
)
def test_an_entrys_own_key_replaces_every_credential_of_the_caller(
    provider: Provider, credential: tuple[bytes, bytes]
) -> None:
    sent = sent_to([*CREDENTIALS, *PLAIN, *CREDENTIALS], provider, identity=False)
    assert sent == [*PLAIN, credential]


@pytest.mark.parametrize("provider", [OPENAI, AZURE], ids=["callers-key", "own-key"])
def test_headers_that_steer_other_gateways_go_only_where_the_entry_lists_them(provider: Provider) -> None:
    plain = sent_to(PLAIN, provider, identity=False)
    assert sent_to([*STEERING, *PLAIN], provider, identity=False) == plain
    portkey = replace(provider, forward_headers=("x-portkey-*", "x-http-method-override", "helicone-auth"))
    sent = sent_to([*STEERING, *PLAIN], portkey, identity=False)
    names = [name for name, _ in sent if name in dict(STEERING)]
    keys = [] if provider.has_credential else [b"x-portkey-api-key"]
    assert names == [
        b"x-portkey-config", b"x-portkey-custom-host", *keys, b"helicone-auth", b"x-http-method-override",
    ]  # fmt: skip


def test_one_providers_key_never_reaches_another() -> None:
    entries = [OPENAI, AZURE, ANTHROPIC, CLAUDE, GEMINI, VERTEX]
    keys = {entry.name: entry.api_key.encode() for entry in entries if entry.api_key is not None}
    for entry in entries:
        sent = b"\n".join(value for _, value in sent_to([*CREDENTIALS, *PLAIN], entry, identity=False))
        assert {name for name, key in keys.items() if key in sent} == (
            {entry.name} if entry.api_key else set()
        )


@pytest.mark.parametrize("provider", [OPENAI, AZURE], ids=["callers-key", "own-key"])
def test_an_answer_that_must_be_read_is_asked_for_uncompressed(provider: Provider) -> None:
    sent = sent_to(PLAIN, provider, identity=True)
    assert [value for name, value in sent if name == b"accept-encoding"] == [b"identity"]
    rest = [header for header in sent if header[0] not in (b"accept-encoding", b"authorization")]
    assert rest == [header for header in PLAIN if header[0] != b"accept-encoding"]


def test_cookies_and_promises_for_the_providers_host_are_not_relayed() -> None:
    of_its_host = [
        (b"set-cookie", b"__cf_bm=1; path=/"),
        (b"set-cookie", b"other=2"),
        (b"alt-svc", b'h3=":443"'),
        (b"strict-transport-security", b"max-age=1"),
    ]
    assert to_caller([*of_its_host, *OF_THE_PROVIDER], []) == OF_THE_PROVIDER


def test_the_framing_is_the_servers_to_write() -> None:
    headers = [(b"content-length", b"12"), (b"content-type", b"application/json")]
    assert to_caller(headers, []) == headers[1:]


NAMES = st.sampled_from(
    sorted({name for name, _ in [*HOP_BY_HOP, *OURS, *CREDENTIALS, *PLAIN, *OF_THE_PROVIDER]})
)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=5)), max_size=15))
def test_what_travels_keeps_its_order_and_its_repeats(headers: list[tuple[bytes, bytes]]) -> None:
    for sent in (sent_to(headers, OPENAI, identity=False), to_caller(headers, [])):
        rest = iter(headers)
        assert all(header in rest for header in sent)
        for name, _ in PLAIN:
            assert [value for other, value in sent if other == name] == [
                value for other, value in headers if other == name
            ]


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (b"key=sk-caller", b""),
        (b"alt=sse&key=sk-caller", b"alt=sse"),
        (b"key=sk-caller&alt=sse&key=again", b"alt=sse"),
        (b"access_token=ya29&alt=sse", b"alt=sse"),
        (b"%6bey=gk&%61ccess_token=ya29&ke%79s=2&alt=%6bey", b"ke%79s=2&alt=%6bey"),
        (b"%6b%65%79=gk&%6B%65y&key%=1&%key=2&ke%7=3&%61=4", b"key%=1&%key=2&ke%7=3&%61=4"),
        (b"api-key=k&API-KEY=k&api%2Dkey=k&api_key=k&apikey=k&x-api-key=k&keep=1", b"keep=1"),
        (b"subscription-key=k&Subscription-Key=k&sig=k&Sig=k&%73ig=k&se=2026&sp=r", b"se=2026&sp=r"),
        (b"X-Amz-Signature=k&X-Amz-Credential=k&X-Amz-Security-Token=k&X-Amz-Date=1", b"X-Amz-Date=1"),
        (b"Key=k&ACCESS_TOKEN=k&authorization=k&client_secret=k&signature=k&design=1", b"design=1"),
        (b"monkey=1&alt=sse&flag", b"monkey=1&alt=sse&flag"),
        (b"", b""),
    ],
)
def test_a_key_in_the_query_is_taken_out(query: bytes, kept: bytes) -> None:
    assert without_key(query) == kept


def test_a_model_stands_in_one_path_segment() -> None:
    assert quoted("gemini-2.5-pro") == "gemini-2.5-pro"
    assert quoted("tuned/one?x#y:z") == "tuned%2Fone%3Fx%23y%3Az"


@pytest.mark.parametrize(
    ("named", "sent", "found"),
    [
        ({b"x-request-id": b"req_1"}, {}, "req_1"),
        ({b"request-id": b"req_01", b"cf-ray": b"9"}, {}, "req_01"),
        ({b"x-amzn-requestid": b"a-b"}, {b"x-request-id": b"mine"}, "a-b"),
        ({b"apim-request-id": b"a", b"x-ms-request-id": b"b"}, {}, "a"),
        ({b"x-goog-request-id": b"g"}, {}, "g"),
        ({b"x-request-id": b"user-42"}, {b"x-request-id": b"user-42"}, ""),
        ({b"x-request-id": b"req_1"}, {b"x-request-id": b"user-42"}, "req_1"),
        ({b"x-request-id": b"r" * 500}, {}, "r" * 128),
        ({b"x-request-id": b"\xff"}, {}, "\ufffd"),
        ({b"content-type": b"x-request-id"}, {}, ""),
    ],
)
def test_the_providers_id_of_a_request_is_in_its_answers_head(
    named: dict[bytes, bytes], sent: dict[bytes, bytes], found: str
) -> None:
    assert request_id_of(named, sent) == found
