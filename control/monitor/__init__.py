"""What the leader watches: each canary's guardrails, the traffic, how long to wait for the candidate."""
