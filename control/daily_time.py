"""A time of day in a time zone: once each day of its calendar, whatever its clocks do. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyTime:
    """A wall clock's time. `timezone` is a name of the IANA database."""

    at: time
    timezone: str = "UTC"

    def today(self, now: float) -> tuple[str, float]:
        """The day of UTC second `now` in the zone (ISO), and the UTC second of the time on it.

        A time that the clocks skip counts as if they had not; of one that comes twice, the first counts.
        """
        zone = ZoneInfo(self.timezone)
        day = datetime.fromtimestamp(now, zone).date()
        return day.isoformat(), datetime.combine(day, self.at, zone).astimezone(UTC).timestamp()
