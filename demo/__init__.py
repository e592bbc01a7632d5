"""The demo.

`story`          the demo itself
`backdrop`       the servers around it, and its users
`history`        made-up releases
`provider/`      the local LLM provider, which the tests use, too
"""
