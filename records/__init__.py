"""Records: the outcome of every exchange, its storage, its counters and its export to other systems."""
