"""Guardrails: is the candidate worse now, and who must know. Decides and notifies; `control` rolls back.

guardrails   one canary's guardrails: outcomes and feedback in, statuses out
scope        the same rules over one part of the traffic: all of it, a category, a segment
rules/       one module a family of rules, what a rule is, and what its status says
evidence/    what rules count and prove: bets, windows, the exchanges that count
figures/     what people read beside the rules: live figures, places, why a rollback happened
incidents/   from a status to a page: incidents, notices, the outbox, the receivers
prometheus   the same rules as a Prometheus rules file
simulation/  made-up traffic through the real guardrails
wording      the sentences of all of these
"""
