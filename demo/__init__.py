"""The demo.

`story`          the demo itself
`servers`        the servers around it, and its users
`history`        made-up releases
`provider/`      the local LLM provider, which the tests use, too
"""
