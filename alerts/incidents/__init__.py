"""From a status to a page: an `incident`, its `notice`, the `outbox` with its receivers, the `notifier`."""
