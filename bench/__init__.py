"""Offline benchmarks: datasets, runner, scorers, comparison, known issues, new releases. No user traffic."""
