"""What happened, on its way to the controller: events of the workers, from the spool or the Redis stream."""
