"""A `rule` with its status, and the families of rules: failures, latency, means, answers, relative."""
