"""From a status to a page: an `incident`, its `notice` for a receiver, the `notifier` with its outbox;
and why a `rollback` happened."""
