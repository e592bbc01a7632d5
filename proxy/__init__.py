"""The request path: read, assign, send, relay, record. Start at `exchange.py`."""
