"""Exchange between replicas over Redis: faster than the store, which stays authoritative."""
