"""Made-up traffic through the real guardrails: `traffic`, and `trials` of it: one, or all of a question."""
