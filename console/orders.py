"""The route that takes orders from the page's forms."""

import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from alerts.wording import capitalized
from common.numbers import set_percent
from console.access.login import Login
from control.operator.operator import Operator
from control.operator.orders import ORDERS, BadOrder, Order
from pages.status.standing import key_of, standing
from pages.words import status
from pages.words.arms import in_file
from records.store.decisions import CHOICES, Choice

_WHO_BOUND, _REASON_BOUND = 200, 2000


Act = Callable[[str, Mapping[str, str]], Awaitable[tuple[int, str]]]
"""Acts on the canary of that name by the form's fields; the HTTP status, and what came of it."""


class OrderForms:
    """The route that takes orders."""

    def __init__(self, operator: Operator, login: Login) -> None:
        self._operator = operator
        self._login = login

    def routes(self) -> list[Route]:
        """The route."""
        return [
            Route("/canaries/{name}/preflight", self.preflight, methods=["POST"]),
            Route("/canaries/{name}/decide", self.decide, methods=["POST"]),
            Route("/standing/{name}/begin", self.begin, methods=["POST"]),
            Route("/standing/{name}/revert", self.revert, methods=["POST"]),
            Route("/canaries/{name}/{order}", self.order, methods=["POST"]),
        ]

    async def preflight(self, request: Request) -> Response:
        """Ask the candidate now, and say what it took."""

        async def act(name: str, form: Mapping[str, str]) -> tuple[int, str]:
            done = await self._operator.preflight(name)
            said = f"{done['taken']} of {done['asked']} requests taken, {done['refused']} refused"
            return 200, f"{said}; {done['source']}."

        return await self._done(request, act)

    async def begin(self, request: Request) -> Response:
        """Begin a trial of the standing canary, and say what became of it."""

        async def act(name: str, form: Mapping[str, str]) -> tuple[int, str]:
            (who, reason), model = self._signature(request, form), form.get("model", "").strip()
            if not who or not model:
                raise BadOrder(400, "Not done: enter the model and your name.")
            done = await self._operator.begin(name, {"model": model}, who=who, reason=reason)
            early = [capitalized(status.ended_early(each)) for each in done["ended_early"]]
            return 200, ". ".join([f"{done['canary']}: {status.plain(done['state'])}", *early]) + "."

        return await self._done(request, act)

    async def revert(self, request: Request) -> Response:
        """Give everybody the standing canary's former baseline, and say which that is."""

        async def act(name: str, form: Mapping[str, str]) -> tuple[int, str]:
            who, reason = self._signed(request, form)
            despite = "despite_retirement" in form
            done = await self._operator.revert(name, who=who, reason=reason, despite_retirement=despite)
            also = f" {ends}." if (ends := status.end_with_it(done["ended"])) else ""
            return 200, f"{done['reverted']} is taken back.{also} Everybody gets {in_file(done['baseline'])}."

        return await self._done(request, act)

    async def decide(self, request: Request) -> Response:
        """Record a decision, and say what it does not outweigh."""

        async def act(name: str, form: Mapping[str, str]) -> tuple[int, str]:
            who, reason = self._signature(request, form)
            choice: Choice | None = next((each for each in CHOICES if each == form.get("decision")), None)
            named = [*_ticked(form, "despite:"), *form.get("despite", "").split(",")]
            despite = list(dict.fromkeys(each.strip() for each in named if each.strip()))
            if choice is None or not who or not reason:
                raise BadOrder(400, "Not done: choose a decision, and enter your name and a reason.")
            if despite and choice != "ship":
                raise BadOrder(400, "Not done: only a decision to ship outweighs misses.")
            try:
                done = await self._operator.decide(name, choice, who=who, reason=reason, despite=despite)
            except BadOrder as problem:
                said = f"{problem.message[0].upper()}{problem.message[1:]}"
                raise BadOrder(problem.status, said) from problem
            return 200, f"Recorded: {_verdict(done['decision'])}. {done['note']}".strip()

        return await self._done(request, act)

    async def order(self, request: Request) -> Response:
        """Carry out the order, and say how many workers have confirmed it, or why it was refused."""
        order = request.path_params["order"]

        async def act(name: str, form: Mapping[str, str]) -> tuple[int, str]:
            self._must_be_as_seen(name, order, form)
            known, (who, reason) = _known(order), self._signed(request, form)
            done = await self._operator.order(
                name,
                known,
                who=who,
                reason=reason,
                share=_share(form, order),
                hard="hard" in form,
                against_verdict="against_verdict" in form,
                despite_retirement="despite_retirement" in form,
            )
            if done["promote_asked"]:
                return 202, f"Not promoted yet: {status.asked(done['promote_asked'], time.time())}."
            state = f"{status.plain(done['state']).capitalize()}, share {set_percent(done['share'])}."
            said = f" The report says {_verdict(report['verdict'])}." if (report := done["report"]) else ""
            if held := done["held_back"]:
                said += f" {capitalized(status.held_on(held))}."
            confirmed = status.confirmations(done["confirmed"], done["workers"]).capitalize()
            return 200, f"{state} {confirmed}.{said}"

        return await self._done(request, act)

    def _signature(self, request: Request, form: Mapping[str, str]) -> tuple[str, str]:
        """Who orders, and why; "" for what the form does not say."""
        who = self._login.who(request, form.get("who", ""))
        return who[:_WHO_BOUND], form.get("reason", "").strip()[:_REASON_BOUND]

    def _signed(self, request: Request, form: Mapping[str, str]) -> tuple[str, str]:
        """The same of an order that wants both."""
        who, reason = self._signature(request, form)
        if not who or not reason:
            raise BadOrder(400, "Not done: enter your name and a reason. Both go into the audit log.")
        return who, reason

    async def _done(self, request: Request, act: Act) -> Response:
        """Act on the canary by the form's fields, and say in place what came of it."""
        name = request.path_params["name"]
        try:
            code, message = await act(name, await self._login.form(request))
        except BadOrder as problem:
            code, message = problem.status, problem.message
        return self._result(request, name, code, message)

    def _must_be_as_seen(self, name: str, order: str, form: Mapping[str, str]) -> None:
        """Raises BadOrder (409) if the state has changed since the page loaded. A rollback always passes."""
        canary = next((each for each in self._operator.status()["canaries"] if each["name"] == name), None)
        if order != "rollback" and canary is not None and form.get("seen") != key_of(canary):
            raise BadOrder(
                409,
                f"Not done: {name} has changed since this page showed it. {standing(canary).sentence} "
                "Reload the page, and repeat the order if you still want it.",
            )

    def _result(self, request: Request, name: str, status: int, message: str) -> Response:
        template = "result.html" if "hx-request" in request.headers else "done.html"
        return self._login.answer(
            request, template, status_code=status, name=name, done=status < 300, message=message
        )


def _ticked(form: Mapping[str, str], what: str) -> list[str]:
    """The boxes ticked whose names begin so, without that."""
    return [name.removeprefix(what) for name in form if name.startswith(what)]


def _verdict(name: str) -> str:
    return status.plain(name).replace("dont", "don’t")


def _known(order: str) -> Order:
    for each in ORDERS:
        if each == order:
            return each
    raise BadOrder(404, f"There is no order {order!r}.")


def _share(form: Mapping[str, str], order: str) -> float | None:
    if order != "ramp":
        return None
    try:
        return float(form.get("share", "").strip().removesuffix("%").replace(",", ".")) / 100.0
    except ValueError:
        raise BadOrder(400, "Not done: the share must be a percentage, for example 10.") from None
