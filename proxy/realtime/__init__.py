"""OpenAI's `/v1/realtime`: WebSocket sessions, relayed byte by byte and read from a copy. See `session`."""
