"""The request path: read, decide, send, relay, record. Start at `exchange.py`."""
