"""Whether something that others run answers us. Says so in the log when that changes."""

import structlog

log = structlog.get_logger()


class Availability:
    """`down` is why it does not answer; None while it does."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.down: str | None = None

    def answered(self) -> None:
        """It did."""
        if self.down is not None:
            log.info(f"{self._name}.answers")
        self.down = None

    def failed(self, problem: Exception) -> None:
        """It did not."""
        if self.down is None:
            log.error(f"{self._name}.silent", problem=str(problem))
        self.down = str(problem)
