"""The demo, and its local provider, which implements the three wire APIs."""
