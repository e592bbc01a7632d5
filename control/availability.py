"""Whether a service that others run (Redis, the database) answers. Each change is logged."""

import structlog

log = structlog.get_logger()


class Availability:
    """`down` says why the service does not answer; None while it does."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.down: str | None = None

    def answered(self) -> None:
        """The service answered."""
        if self.down is not None:
            log.info(f"{self._name}.answers")
        self.down = None

    def failed(self, problem: Exception) -> None:
        """The service did not answer."""
        if self.down is None:
            log.error(f"{self._name}.silent", problem=str(problem))
        self.down = str(problem)
