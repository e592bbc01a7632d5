"""What replicas tell each other by Redis: hints that are quicker than the store, which alone is the truth."""
