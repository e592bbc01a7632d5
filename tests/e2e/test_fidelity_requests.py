"""What reaches the provider is what the caller sent, byte for byte, but for what the contract names.

The caller and the provider are raw sockets. A body is written with marks: `«model»` is the caller's value on
the way in and the arm's on the way out, `«usage»` is what canary adds where it asks for usage. So what must
arrive is known without parsing.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Thread

import pytest

from tests.e2e.fidelity import BARE, BASELINE, CANDIDATE, UNIT, Stage, Way, raised
from tests.e2e.wires import Asked, Caller, Field

WAYS = (BASELINE, CANDIDATE, BARE)
FRAMING = {b"host", b"content-length", b"transfer-encoding", b"connection"}
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
_TALK = b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
EVENTS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(_TALK) + _TALK
)
USAGE = '"stream_options":{"include_usage":true},'
JSON: Field = (b"Content-Type", b"application/json")
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with raised(tmp_path_factory.mktemp("fidelity-requests")) as up:
        yield up


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as its caller sends it."""

    path: str = CHAT
    method: str = "POST"
    body: bytes = b""
    headers: tuple[Field, ...] = (JSON,)


def wire(sent: Sent, *, chunks: tuple[bytes, ...] | None = None) -> bytes:
    """The request as bytes, with a Content-Length, or in chunks."""
    lines = [f"{sent.method} {sent.path} HTTP/1.1".encode("latin-1"), b"Host: canary.example"]
    lines += [name + b": " + value for name, value in sent.headers]
    if chunks is not None:
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        lines.append(b"Transfer-Encoding: chunked")
    else:
        body = sent.body
        if body or sent.method == "POST":
            lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def check_headers(asked: Asked, expected: tuple[Field, ...], stage: Stage) -> None:
    got = [(name, value) for name, value in asked.headers if name.lower() not in FRAMING]
    assert got == [(name.lower(), value) for name, value in expected]
    assert asked.values(b"host") == [stage.provider.url.removeprefix("http://").encode()]
    assert asked.values(b"connection") == []


def answered(caller: Caller, asked: Asked, answer: bytes = ANSWER) -> None:
    asked.wire.write(answer)
    caller.until_over()
    assert (caller.status, caller.complete) == (200, True)


# Bodies: «model» and «usage» are all that changes

OPENAI_BODIES: dict[str, str | bytes] = {
    "compact": '{"model":«model»,"messages":[]}',
    "spaces": '{ "model" : «model» , "messages" : [ ] }',
    "white-space-around": ' \t\r\n{"model":«model»}\r\n \t',
    "pretty-crlf": '{\r\n  "model": «model»,\r\n\t"messages": [\r\n  ]\r\n}\r\n',
    "model-last": '{"messages":[],"n":1,"model":«model»}',
    "model-on-a-line-of-its-own": '{"messages":[],"model"\n:\n«model»\n}',
    "escapes": '{"model":«model»,"a":"\\u00fc \\/ \\ud83d\\ude42 \\u0000 \\" \\\\","\\u0062":"b"}',
    "unicode": '{"model":«model»,"messages":[{"role":"user","content":"Zürich 🙂 思考 \u2028"}]}',
    "numbers": '{"model":«model»,"a":[1.0,1.10,-0,-0.0,1E5,1e+5,12345678901234567890123,5e-324,1e400]}',
    "duplicate-members": '{"a":1,"model":«model»,"a":2}',
    "model-twice": '{"model":«model»,"messages":[],"model":«model»}',
    "another-model-first": '{"model":"gpt-other","messages":[],"model":«model»}',
    "model-in-a-nested-object": '{"a":{"model":"keep me"},"model":«model»,"b":[{"model":"gpt-4o"}]}',
    "model-in-a-string": '{"messages":[{"content":"\\"model\\":\\"gpt-4o\\""}],"model":«model»}',
    "model-as-a-value": '{"a":"model","b":["model",":","x"],"model":«model»}',
    "model-in-an-escaped-key": '{"m\\u006fdel":«model»,"messages":[]}',
    "model-like-keys": '{"models":"a","model_":"b","model":«model»,"Model":"c"}',
    "brackets-in-strings": '{"a":"}]{[\\"","model":«model»,"b":"{"}',
    "tools": '{"model":«model»,"tools":[{"type":"function","function":{"parameters":{"properties":'
    '{"model":{"type":"string","default":"gpt"}}}}}]}',
    "deep": '{"model":«model»,"a":' + "[" * 200 + "]" * 200 + "}",
    "unknown-members": '{"x-vendor":null,"model":«model»,"":"","temperature":0.70}',
    "invalid-utf-8-in-a-string": b'{"model":"MODEL","a":"\xff\xfe caf\xe9"}',
    "5-mb": '{"model":«model»,"messages":[{"content":"' + "ü" * 2_500_000 + '"}]}',
}

STREAM_BODIES: dict[str, str] = {
    "asked": '{"model":«model»,"stream":true,"stream_options":{"include_usage":true}}',
    "asked-with-spaces": '{"stream":true, "stream_options": { "include_usage" : true }, "model":«model»}',
    "injected": '{«usage»"model":«model»,"stream":true}',
    "injected-spaces": ' {«usage» "stream" : true, "model" : «model» }\n',
    "injected-crlf": '{«usage»\r\n  "model": «model»,\r\n  "stream": true\r\n}',
    "options-of-its-own": '{"stream":true,"stream_options":{«include»"x":false},"model":«model»}',
    "options-of-its-own-spaced": '{"stream":true,"model":«model»,'
    '"stream_options": {«include» "x" : 1.0, "y":"\\u00fc" }}',
    "options-that-say-false": '{"stream":true,"stream_options":{"a":1.0, "include_usage": «flag» },'
    '"model":«model»}',
    "options-empty": '{"model":«model»,"stream_options":«options-empty»,"stream":true}',
    "options-null": '{"model":«model»,"stream_options":«options-null»,"stream":true}',
    "stream-options-elsewhere": '{«usage»"metadata":{"stream_options":{}},"stream":true,"model":«model»}',
}
MARKS: dict[str, tuple[str, str]] = {
    "«usage»": ("", USAGE),
    "«include»": ("", '"include_usage":true,'),
    "«flag»": ("false", "true"),
    "«options-empty»": ("{}", '{"include_usage":true}'),
    "«options-null»": ("null", '{"include_usage":true}'),
}


def both(body: str | bytes, way: Way, api: str = "openai") -> tuple[bytes, bytes]:
    """What is sent, and what must arrive."""
    model = f"{way.canary}-{api}"
    sent = body.encode() if isinstance(body, str) else body
    sent = sent.replace("«model»".encode(), b'"MODEL"')
    arrives = sent.replace(b'"gpt-other"', b'"MODEL"').replace(b"MODEL", f"{model}-{way.arm}".encode())
    sent = sent.replace(b"MODEL", model.encode())
    for mark, (before, after) in MARKS.items():
        sent = sent.replace(mark.encode(), before.encode())
        arrives = arrives.replace(mark.encode(), after.encode())
    return sent, arrives


def exchanged(stage: Stage, request: bytes, answer: bytes = ANSWER) -> tuple[Asked, Caller]:
    """Send it, answer it: what the provider got, and the caller with its response."""
    with stage.caller() as caller:
        caller.send(request)
        asked = stage.provider.request()
        answered(caller, asked, answer)
        return asked, caller


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("name", OPENAI_BODIES)
def test_a_body_arrives_with_the_arms_model_and_no_other_change(stage: Stage, name: str, way: Way) -> None:
    body, arrives = both(OPENAI_BODIES[name], way)
    headers = (JSON, (b"X-Canary-Unit", UNIT.encode()))
    asked, caller = exchanged(stage, wire(Sent(body=body, headers=headers)))
    assert asked.line == b"POST /v1/chat/completions HTTP/1.1"
    assert asked.body == arrives
    check_headers(asked, (JSON,), stage)
    assert caller.values(b"x-canary-arm") == [way.arm.encode()]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("name", STREAM_BODIES)
def test_a_stream_is_asked_for_its_usage_and_nothing_else_is_touched(
    stage: Stage, name: str, way: Way
) -> None:
    body, arrives = both(STREAM_BODIES[name], way)
    headers = (JSON, (b"Accept-Encoding", b"gzip, br"), (b"x-a", b"1"))
    request = wire(Sent(body=body, headers=(*headers, (b"X-Canary-Unit", UNIT.encode()))))
    asked, caller = exchanged(stage, request, EVENTS)
    assert asked.body == arrives
    if name.startswith("asked"):
        check_headers(asked, headers, stage)
    else:
        check_headers(asked, (JSON, (b"x-a", b"1"), (b"accept-encoding", b"identity")), stage)
    assert caller.values(b"x-canary-arm") == [way.arm.encode()]


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + b'{"model":"kept-openai"}',
        b'{"model":"kept-openai"',
        b'["model","kept-openai"]',
        b'"kept-openai"',
        b'{"model":"kept-openai"} trailing',
        b"\xff\xfe{\x00}\x00",
        b"model=kept-openai",
        b"",
        b"\x00" * 100,
        b'{"model":"kept-openai","a":"half an emoji \\ud83d"}',
        b'{"model":{"name":"kept-openai"}}',
        b'{"model":null,"stream":"yes"}',
        b"{}",
    ],
    ids=[
        "bom", "cut-off", "array", "string", "trailing-text", "utf-16", "form", "empty", "zeros",
        "lone-surrogate", "model-object", "model-null", "empty-object",
    ],
)  # fmt: skip
def test_a_body_that_no_canary_can_read_arrives_untouched(stage: Stage, body: bytes) -> None:
    asked, caller = exchanged(stage, wire(Sent(body=body)))
    assert asked.body == body
    check_headers(asked, (JSON,), stage)
    assert caller.values(b"x-canary-arm") == []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_an_encoded_body_arrives_encoded_where_no_byte_changes_else_plain(stage: Stage, way: Way) -> None:
    headers = (JSON, (b"Content-Encoding", b"gzip"))
    unmatched = gzip.compress(b'{"model":"unmatched","stream":true}')
    asked, caller = exchanged(stage, wire(Sent(body=unmatched, headers=headers)), EVENTS)
    assert asked.body == unmatched
    check_headers(asked, headers, stage)
    assert caller.values(b"x-canary-arm") == []
    body, arrives = both('{"model":«model»,"messages":[{"content":"Zürich 🙂"}]}', way)
    request = wire(Sent(body=gzip.compress(body), headers=(*headers, (b"X-Canary-Unit", UNIT.encode()))))
    asked, caller = exchanged(stage, request)
    assert asked.body == arrives != body
    check_headers(asked, (JSON,), stage)
    assert caller.values(b"x-canary-arm") == [way.arm.encode()]


@pytest.mark.parametrize("cut", [1, 7, 100_000])
def test_a_body_in_chunks_arrives_whole(stage: Stage, cut: int) -> None:
    body, arrives = both('{"model":«model»,"messages":[{"content":"Zürich 🙂"}]}', BASELINE)
    chunks = tuple(body[at : at + cut] for at in range(0, len(body), cut))
    asked, _ = exchanged(stage, wire(Sent(headers=(JSON,)), chunks=chunks))
    assert asked.body == arrives


def test_a_request_that_comes_byte_by_byte_arrives_whole(stage: Stage) -> None:
    body, arrives = both('{"model":«model»,"messages":[{"content":"Zürich 🙂"}]}', BASELINE)
    request = wire(Sent(body=body))
    with stage.caller() as caller:
        for at in range(len(request)):
            caller.sock.sendall(request[at : at + 1])
        asked = stage.provider.request()
        assert asked.body == arrives
        answered(caller, asked)


# The other APIs


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("stream", ["true", "false"])
def test_anthropics_messages_differ_by_the_model(stage: Stage, way: Way, stream: str) -> None:
    text = '{"model": «model», "max_tokens": 1e3, "stream": ' + stream + ', "messages": []}\n'
    body, arrives = both(text, way, "anthropic")
    headers = (
        JSON, (b"anthropic-version", b"2026-10-21"), (b"anthropic-beta", b"a,b"),
        (b"x-api-key", b"ak-caller"), (b"Accept-Encoding", b"gzip"),
    )  # fmt: skip
    request = wire(
        Sent(path="/v1/messages?beta=true", body=body, headers=(*headers, (b"X-Canary-Unit", UNIT.encode())))
    )
    asked, caller = exchanged(stage, request)
    assert asked.line == b"POST /v1/messages?beta=true HTTP/1.1"
    assert asked.body == arrives
    check_headers(asked, headers, stage)
    assert caller.values(b"x-canary-arm") == [way.arm.encode()]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/v1beta/models/", ":generateContent?key=gk%2Dcaller&%24x=%zz"),
        ("/v1beta/models/", ":streamGenerateContent?alt=sse"),
        ("/v1beta/tuned%20ones/a;b/models/", ":generateContent?"),
    ],
)
def test_geminis_model_changes_in_the_url_and_the_body_not_at_all(
    stage: Stage, before: str, after: str, way: Way
) -> None:
    body = b'{ "contents": [], "model": "not this one", "generationConfig": {"temperature": 0.70} }'
    headers = (JSON, (b"x-goog-api-key", b"gk-caller"))
    path = f"{before}{way.canary}-gemini{after}"
    request = wire(Sent(path=path, body=body, headers=(*headers, (b"X-Canary-Unit", UNIT.encode()))))
    asked, caller = exchanged(stage, request)
    arrives = f"{before}{way.canary}-gemini-{way.arm}{after}".removesuffix("?")
    assert asked.line == f"POST {arrives} HTTP/1.1".encode()
    assert asked.body == body
    check_headers(asked, headers, stage)
    assert caller.values(b"x-canary-arm") == [way.arm.encode()]


# Paths and queries

TARGETS = (
    "/v1/models/gpt%2D4o%20x%2Fy;a=b,c",
    "/v1/models/%e2%82%ac%E2%82%AC",
    "/v1/files//double///slash/",
    "/v1/models/a.b..c/...",
    "/v1/models/!$&'()*+,;=:@~-._",
    "/v1/models?",
    "/v1/models?a=1&a=2&&=&b",
    "/v1/models?q=%zz%&x=a+b%20c",
    '/v1/models?q={"a":[1]}|^`<>\\',
    "/v1/models?q=a?b/c:d@e",
    "/v1/" + "long/" * 1000,
    "/two-openai/v1/models/a%2Fb?x=%20",
)


@pytest.mark.parametrize("target", TARGETS, ids=range(len(TARGETS)))
def test_a_target_arrives_as_it_was_sent(stage: Stage, target: str) -> None:
    asked, _ = exchanged(stage, wire(Sent(method="GET", path=target, headers=())))
    arrives = target.removeprefix("/two-openai").removesuffix("?")
    assert asked.line == b"GET " + arrives.encode("latin-1") + b" HTTP/1.1"
    assert asked.body == b""


@pytest.mark.parametrize("target", [b"/v1/models?q=caf\xc3\xa9", b"/v1/mod\xe9ls", b"/v1/a?b=\x01"])
def test_a_target_that_is_no_ascii_is_refused_and_not_rewritten(stage: Stage, target: bytes) -> None:
    """RFC 9112 §3.2: a recipient of an invalid request-line should answer 400, and must not correct it."""
    with stage.caller() as caller:
        caller.send(b"GET " + target + b" HTTP/1.1\r\nHost: canary\r\n\r\n")
        caller.until_over()
        assert caller.status == 400


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_passes_through(stage: Stage, method: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    body = b"x" if method in ("POST", "PUT", "PATCH", "DELETE") else b""
    asked, _ = exchanged(stage, wire(Sent(method=method, path="/v1/files/f", headers=(), body=body)), answer)
    assert asked.line == f"{method} /v1/files/f HTTP/1.1".encode()
    assert asked.body == body


# Headers

KEPT: tuple[Field, ...] = (
    (b"User-Agent", b"OpenAI/Python 3.57.0"),
    (b"X-Stainless-Retry-Count", b"0"),
    (b"accept", b"*/*"),
    (b"Accept-Encoding", b"gzip, deflate, br, zstd"),
    (b"X-Twice", b"one"),
    (b"x-between", b"1"),
    (b"X-TWICE", b"two"),
    (b"x-empty", b""),
    (b"x-latin", b"caf\xe9"),
    (b"x-utf-8", "Zürich".encode()),
    (b"x-bytes", b"\x80\xff"),
    (b"x-tab", b"a\tb"),
    (b"x-inside", b"in  side"),
    (b"x-long", b"abcdefgh" * 1024),
    (b"!#$%&'*+-.^`|~", b"1"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"idempotency-key", b"7"),
    (b"OpenAI-Beta", b"assistants=v2"),
    (b"forwarded", b"for=192.0.2.1"),
    (b"via", b"1.1 x"),
    (b"keep-alive-not", b"1"),
)
DROPPED: tuple[Field, ...] = (
    (b"X-Canary-Unit", UNIT.encode()),
    (b"X-Canary-Session", b"s"),
    (b"X-Canary-Request-Id", b"app-1"),
    (b"x-canary-unknown", b"1"),
    (b"Connection", b"keep-alive, X-Hop"),
    (b"connection", b"x-late , x-Odd"),
    (b"X-HOP", b"1"),
    (b"x-late", b"1"),
    (b"x-odd", b"1"),
    (b"Keep-Alive", b"timeout=5"),
    (b"TE", b"trailers"),
    (b"Trailer", b"x-sum"),
    (b"Proxy-Authorization", b"Basic eA=="),
    (b"Proxy-Connection", b"keep-alive"),
    (b"Proxy-Authenticate", b"Basic"),
)
CREDENTIALS: tuple[Field, ...] = (
    (b"Authorization", b"Bearer sk-caller"),
    (b"x-api-key", b"ak-caller"),
    (b"x-goog-api-key", b"gk-caller"),
    (b"api-key", b"azure"),
    (b"Cookie", b"a=b; c=d"),
    (b"OpenAI-Organization", b"org-1"),
    (b"OpenAI-Project", b"p-1"),
)


def mixed(kept: tuple[Field, ...], dropped: tuple[Field, ...]) -> tuple[Field, ...]:
    """One list with the dropped spread among the kept."""
    pairs = [each for pair in zip(kept, dropped, strict=False) for each in pair]
    short = min(len(kept), len(dropped))
    return (*pairs, *kept[short:], *dropped[short:])


@pytest.mark.parametrize(
    "path", [CHAT, "/v1/files/f", "/two-openai" + CHAT], ids=["canary", "passing", "named"]
)
def test_headers_arrive_in_their_order_but_for_the_hop_by_hop_and_canarys_own(
    stage: Stage, path: str
) -> None:
    kept = (JSON, *KEPT, *(header for header in CREDENTIALS if header[0] != b"x-goog-api-key"))
    request = wire(Sent(path=path, body=b'{"model":"kept-openai"}', headers=mixed(kept, DROPPED)))
    asked, _ = exchanged(stage, request)
    check_headers(asked, kept, stage)


@pytest.mark.parametrize("api", ["openai", "anthropic", "gemini"])
def test_the_callers_own_credentials_pass_to_an_entry_without_a_key(stage: Stage, api: str) -> None:
    headers = (JSON, *CREDENTIALS)
    request = wire(Sent(path=f"/two-{api}/v1/x?key=gk-caller&a=%20", body=b"{}", headers=headers))
    asked, _ = exchanged(stage, request)
    assert asked.line == b"POST /v1/x?key=gk-caller&a=%20 HTTP/1.1"
    check_headers(asked, headers, stage)


@pytest.mark.parametrize(
    ("api", "own"),
    [
        ("openai", (b"authorization", b"Bearer sk-own")),
        ("anthropic", (b"x-api-key", b"sk-own")),
        ("gemini", (b"x-goog-api-key", b"sk-own")),
    ],
)
def test_an_entrys_own_key_replaces_all_of_the_callers(stage: Stage, api: str, own: Field) -> None:
    request = wire(
        Sent(
            path=f"/keyed-{api}/v1/x?key=gk-caller&a=%20&access_token=t",
            body=b"{}",
            headers=mixed((JSON, *KEPT), CREDENTIALS),
        )
    )
    asked, _ = exchanged(stage, request)
    assert asked.line == b"POST /v1/x?a=%20 HTTP/1.1"
    check_headers(asked, (JSON, *KEPT, own), stage)


def test_expect_is_answered_here_and_not_forwarded(stage: Stage) -> None:
    body, arrives = both('{"model":«model»}', BASELINE)
    request = wire(Sent(body=body, headers=(JSON, (b"Expect", b"100-continue"))))
    with stage.caller() as caller:
        caller.sock.sendall(request.removesuffix(body))
        assert caller.sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sock.sendall(body)
        asked = stage.provider.request()
        assert asked.body == arrives
        check_headers(asked, (JSON,), stage)
        answered(caller, asked)


# Bodies that stream through

MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nkept-openai\r\n',
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xbc.wav"\r\n\r\n',
    bytes(range(256)) * 1000,
    b"\r\n--b--\r\n",
)
FORM: Field = (b"Content-Type", b"multipart/form-data; boundary=b")


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/two-openai/v1/files", CHAT])
def test_an_upload_arrives_as_it_is_sent_each_part_before_the_next(stage: Stage, path: str) -> None:
    size = sum(map(len, MULTIPART))
    head = wire(Sent(path=path, headers=(FORM, (b"Content-Length", b"%d" % size)), method="PUT"))
    head = head.replace(b"PUT", b"POST", 1)
    with stage.caller() as caller:
        caller.sock.sendall(head)
        asked = stage.provider.head()
        assert asked.values(b"content-length") == [b"%d" % size]
        check_headers(asked, (FORM,), stage)
        for part in MULTIPART:
            caller.sock.sendall(part)
            assert asked.wire.read(len(part)) == part
        answered(caller, asked)
        assert caller.values(b"x-canary-arm") == []


def test_an_upload_in_chunks_arrives_as_it_is_sent(stage: Stage) -> None:
    head = wire(Sent(path="/v1/files", headers=(FORM,)), chunks=()).removesuffix(b"0\r\n\r\n")
    with stage.caller() as caller:
        caller.sock.sendall(head)
        asked = stage.provider.head()
        assert asked.values(b"transfer-encoding") == [b"chunked"]
        for part in MULTIPART:
            caller.sock.sendall(b"%x\r\n%b\r\n" % (len(part), part))
            assert read_chunks(asked, len(part)) == part
        caller.sock.sendall(b"0\r\n\r\n")
        assert asked.wire.read(5) == b"0\r\n\r\n"
        answered(caller, asked)


def read_chunks(asked: Asked, size: int) -> bytes:
    """So many bytes of a chunked body, in however many chunks."""
    body = b""
    while len(body) < size:
        line = b""
        while not line.endswith(b"\r\n"):
            line += asked.wire.read(1)
        body += asked.wire.read(int(line, 16))
        assert asked.wire.read(2) == b"\r\n"
    return body


def test_an_upload_of_5_mb_arrives_whole(stage: Stage) -> None:
    body = bytes(range(256)) * 20_000
    request = wire(Sent(path="/v1/files", headers=(FORM,), body=body))
    with stage.caller() as caller:
        sending = Thread(target=caller.sock.sendall, args=(request,))  # the provider reads meanwhile
        sending.start()
        asked = stage.provider.request()
        sending.join()
        assert asked.body == body
        answered(caller, asked)
