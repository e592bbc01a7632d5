"""Shows each event of a stream to the dialect's reader and to one that collects the model's output."""

from proxy.answer import AnswerFacts
from proxy.dialects.operation import Events, OutputForm, Texts
from proxy.output import CollectedOutput
from records.outcome import Usage


class CollectingEvents:
    """Wraps `events`. It has no texts that may be skipped, since all of them are wanted."""

    texts: Texts = None

    __slots__ = ("_events", "_form", "_output")

    def __init__(self, events: Events, output: CollectedOutput, form: OutputForm) -> None:
        self._events = events
        self._output = output
        self._form = form

    @property
    def token(self) -> bool:
        return self._events.token

    @property
    def done(self) -> bool:
        return self._events.done

    @property
    def failed(self) -> bool:
        return self._events.failed

    @property
    def finished(self) -> bool:
        return self._events.finished

    @property
    def model(self) -> str:
        return self._events.model

    @property
    def answer(self) -> AnswerFacts | None:
        return self._events.answer

    @property
    def usage(self) -> Usage | None:
        return self._events.usage

    def take(self, name: bytes, data: bytes) -> bool:
        self._events.take(name, data)
        if not self._output.lost:
            self._form.take(self._output, data)
        return False
