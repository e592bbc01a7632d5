"""Each canary's state: changes, rollbacks that wait for the store, the questions asked before a start."""
