"""What a judge does of each canary's run."""
