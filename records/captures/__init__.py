"""Captured exchanges: `capture` is their form and their files, `redaction` takes out what identifies people,
`patterns` checks the regular expressions that the config adds to it."""
