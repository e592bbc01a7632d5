"""Guardrails: is the candidate worse now, and who must know. Decides and notifies; `control` rolls back.

guardrails   one canary's guardrails: outcomes and feedback in, statuses out
rules/       one module a family of rules, what a rule is, and the rules over one part of the traffic
evidence/    what rules count and prove: statistics, and the exchanges that count
incidents/   from a status to a page: why a rollback happened, incidents, notices, the notifier
pulse        live figures of both arms, which people read beside the rules
course       both arms over time, for charts
prometheus   the same rules as a Prometheus rules file
simulation/  made-up traffic through the real guardrails
wording      the one sentence that people on call get
"""
