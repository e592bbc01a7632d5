"""A guardrail's rule, its status, and the rules by family: failures, latency, means, answers, relative."""
