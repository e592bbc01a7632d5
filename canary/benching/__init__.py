"""Brings config, providers, proxy, store and the bench room together. Decides nothing about answers."""
