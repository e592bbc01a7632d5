"""The requests that a candidate takes, before any user asks it.

run         asks the candidate, and again with the lines that a refusal suggests; both arms of every canary.
result      what came of that, as values.
cure        the `request:` lines that a refusal suggests.
requests    what is asked: captured requests, those of a file, or the smallest of each operation.
client      one request to one arm, with the proxy's own code.
"""
