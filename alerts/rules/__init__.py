"""A `rule` with its status, and the families of rules: failures, latency, means, answers, relative.

`scope` has the rules over one part of the traffic: all of it, a category, a segment. `places` says in which
parts the failing exchanges lie.
"""
