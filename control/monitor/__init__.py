"""What the leader watches.

`monitor`       each canary's guardrails, figures and incident
`outages`       the outage of a standing canary's baseline while no trial's guardrails hear of it
`traffic`       requests that do no canary any good, and requests by caller
`wait_limits`   how long to wait for the candidate
"""
