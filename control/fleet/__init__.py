"""Several admins.

`leadership`   who leads
`publisher`    how the states reach the workers
`metrics`      the figures that only a fleet has
"""
