"""How good a model is offline: datasets, runner, scorers, known issues, release watcher. Nothing of users."""
