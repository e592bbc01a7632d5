"""What a canary can show, told before it runs: the chance to ship, what it rests on, what would raise it."""
