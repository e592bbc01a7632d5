"""What happened, from whatever source, to whoever listens: the guard, the meters, traces, other replicas."""
