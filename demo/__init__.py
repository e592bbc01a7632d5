"""The demo: a local provider that really speaks the three wire APIs, and the story told with it."""
