"""The judging model: its questions, its highest price, and one judgement from question to result."""
