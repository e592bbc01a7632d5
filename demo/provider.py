"""A local LLM provider for demo and tests: OpenAI, Anthropic and Gemini on one port, without a model.

    python -m demo.provider --port 0 --json-ready --behaviour 'gpt-5.6-terra={"ttft_s": 0.2}'

While it runs, `PUT /_provider/behaviours/MODEL` changes a behaviour, `GET /_provider/log` returns the
received requests, and `DELETE /_provider/log` deletes them. Listens on loopback by default. Accepts any key.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate
from random import Random
from types import TracebackType

import msgspec
import uvloop

from demo.behaviour import Behaviour, Conduct, chance, conduct
from demo.connection import CallerLeft, LocalConnection, Request
from demo.operations import Operations, dialect_of, model_of
from demo.received import Log, Received
from demo.sending import BREAKS, LocalAnswer, send
from demo.wire import RequestRefused

CALM = Behaviour()
RETRY_LATER = (429, 503, 529)


class LocalProvider:
    """The provider as an async context manager: it listens inside, and closes every connection at the end.

    `behaviours` maps model names to behaviours; `other` is for all other models (None: they get 404). `keys`
    are the accepted keys (None: any). `log` has the received requests, at least the last `log_limit`.
    """

    def __init__(
        self,
        behaviours: Mapping[str, Behaviour] | None = None,
        *,
        other: Behaviour | None = CALM,
        keys: frozenset[str] | None = None,
        seed: int = 1,
        host: str = "127.0.0.1",
        port: int = 0,
        log_limit: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.log = Log(limit=log_limit)
        self._behaviours = dict(behaviours or {})
        self._other = other
        self._keys = keys
        self._seed = seed
        self._address = (host, port)
        self._clock = clock
        self._operations = Operations(self._batched, self._batch_s)
        self._seen: dict[int, int] = {}
        self._lines: set[LocalConnection] = set()
        self._open = 0
        self._settled = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        """The URL without a trailing slash; OpenAI's SDK needs `/v1` appended."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def behave(self, model: str, behaviour: Behaviour) -> None:
        """Change one model's behaviour from the next request on."""
        self._behaviours[model] = behaviour

    async def settled(self) -> None:
        """Wait until every answer has ended: sent, broken, or abandoned by its caller."""
        while self._open:
            self._settled.clear()
            await self._settled.wait()

    async def __aenter__(self) -> "LocalProvider":
        await self._tasks.__aenter__()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, *self._address, backlog=4096)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for line in self._lines:
            line.reset()
        await self._tasks.__aexit__(None, None, None)  # do not pass on the block's own exception

    def _accept(self) -> LocalConnection:
        line = LocalConnection(self._serve)
        self._lines.add(line)
        self._tasks.create_task(line.run()).add_done_callback(lambda _: self._lines.discard(line))
        return line

    async def _serve(self, request: Request, line: LocalConnection) -> None:
        if request.path.startswith("/_provider/"):
            await send(line, self._control(request), conduct(CALM, Random(0)), CALM, gzip=False)  # noqa: S311
            return
        entry = Received(
            method=request.method,
            target=request.target,
            headers=request.headers,
            body=request.body,
            model=model_of(request),
            mono=request.mono,
        )
        self.log.add(entry)
        self._open += 1
        sent_before = line.sent_bytes
        try:
            await self._answer(request, line, entry)
            entry.ending = "broken" if entry.fault in BREAKS else "complete"
        except CallerLeft:
            entry.ending, entry.left_mono = "caller_left", line.left_mono
            raise
        finally:
            entry.ended_mono = time.monotonic()
            entry.sent_bytes = line.sent_bytes - sent_before
            self._open -= 1
            self._settled.set()

    async def _answer(self, request: Request, line: LocalConnection, entry: Received) -> None:
        behaviour = self._behaviours.get(entry.model, self._other if entry.model else CALM)
        draws = chance(self._seed, entry.model, request.body, self._nth(request))
        meets = conduct(behaviour or CALM, draws)
        answer = self._prepare(request, behaviour, meets, draws)
        entry.fault, entry.status = meets.fault, answer.status
        compress = (behaviour or CALM).gzip and "gzip" in (request.header("accept-encoding") or "")
        await send(line, answer, meets, behaviour or CALM, gzip=compress)

    def _prepare(
        self, request: Request, behaviour: Behaviour | None, meets: Conduct, draws: Random
    ) -> LocalAnswer:
        dialect = dialect_of(request)
        headers = (("date", formatdate(self._clock(), usegmt=True)), *dialect.headers(draws, meets.ttfb_s))
        try:
            self._admit(request, behaviour)
            answer = self._operations.answer(
                request, behaviour or CALM, draws, int(self._clock()), sorted(self._behaviours)
            )
            if behaviour and (
                meets.fault == "status" or (meets.fault == "stream_error" and answer.events is None)
            ):
                raise RequestRefused(
                    behaviour.status, f"The model answered with status {behaviour.status} on purpose."
                )
        except RequestRefused as refused:
            if behaviour and behaviour.retry_after_s is not None and refused.status in RETRY_LATER:
                headers = (*headers, ("retry-after", f"{behaviour.retry_after_s:g}"))
            request_id = dict(headers).get("request-id", "")
            return LocalAnswer(
                status=refused.status, headers=headers, body=dialect.error(refused, request_id)
            )
        return replace(answer, headers=headers)

    def _batched(self, request: Request) -> LocalAnswer | None:
        """The answer to one question of a batch; None from a model that hangs."""
        model = model_of(request)
        behaviour = self._behaviours.get(model, self._other)
        draws = chance(self._seed, model, request.body, self._nth(request))
        meets = conduct(behaviour or CALM, draws)
        return None if meets.fault == "hang" else self._prepare(request, behaviour, meets, draws)

    def _batch_s(self, model: str) -> float:
        return self._behaviours.get(model, self._other or CALM).batch_s

    def _admit(self, request: Request, behaviour: Behaviour | None) -> None:
        key = dialect_of(request).key(request)
        if key is None or (self._keys is not None and key not in self._keys):
            raise RequestRefused(401, "Incorrect API key provided.", code="invalid_api_key")
        if behaviour is None:
            message = f"The model `{model_of(request)}` does not exist or you do not have access to it."
            raise RequestRefused(404, message, code="model_not_found")

    def _nth(self, request: Request) -> int:
        """How often the same request came before. Each SDK retry is a new draw, as with a real provider."""
        identity = hash((request.target, request.body))
        nth = self._seen.get(identity, 0)
        if len(self._seen) > 100_000:
            self._seen.clear()
        self._seen[identity] = nth + 1
        return nth

    def _control(self, request: Request) -> LocalAnswer:
        match request.method, request.path.split("/")[2:]:
            case "PUT", ["behaviours", model]:
                try:
                    self.behave(model, msgspec.json.decode(request.body, type=Behaviour))
                except (msgspec.DecodeError, ValueError) as exc:
                    return LocalAnswer(status=400, body=msgspec.json.encode({"error": str(exc)}))
                return LocalAnswer(body=b"{}")
            case "GET", ["log"]:
                return LocalAnswer(body=msgspec.json.encode(self.log.entries))
            case "DELETE", ["log"]:
                self.log.clear()
                return LocalAnswer(body=b"{}")
            case _:
                return LocalAnswer(status=404, body=b'{"error": "no such control"}')


def behaviour_option(text: str) -> tuple[str, Behaviour]:
    """Read `MODEL={"ttft_s": 0.2}`; an argparse type."""
    model, _, fields = text.partition("=")
    try:
        return model, msgspec.json.decode(fields, type=Behaviour)
    except (msgspec.DecodeError, ValueError) as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL=JSON: {exc}") from exc


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    provider = LocalProvider(
        dict(options.behaviour),
        seed=options.seed,
        host=options.host,
        port=options.port,
        log_limit=options.log_limit,
    )
    async with provider:
        ready = msgspec.json.encode({"url": provider.url, "pid": os.getpid()}).decode()
        sys.stdout.write(f"{ready if options.json_ready else f'listening on {provider.url}'}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Run the provider until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m demo.provider", description="A local LLM provider.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--behaviour", type=behaviour_option, action="append", default=[], metavar="MODEL=JSON"
    )
    parser.add_argument("--log-limit", type=int, default=10_000, help="requests that the log keeps at least")
    parser.add_argument("--json-ready", action="store_true", help="print the address as JSON once listening")
    uvloop.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
