"""Made-up traffic through the real guardrails: `traffic`, single `trials`, and a whole `question` to many."""
