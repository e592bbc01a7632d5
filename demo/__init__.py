"""The demo.

`story`          the demo itself
`backdrop`       the servers around it
`traffic`        its users
`history`        made-up releases, from `past_releases`
`provider/`      the local LLM provider, which the tests use, too
"""
