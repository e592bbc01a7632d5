"""What happened: the outcome of every exchange, how it is kept, counted and shown to other systems."""
