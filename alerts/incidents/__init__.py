"""From a status to a page: an `incident`, its `notice`, the `outbox`, the `notifier`, its receivers."""
