"""OpenAI's `/v1/realtime`: WebSocket sessions, relayed byte by byte, read from a copy. Start at `session`."""
