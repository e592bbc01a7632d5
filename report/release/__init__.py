"""A release from noticed to decided: its benchmark, its canaries, and the one verdict of all layers."""
