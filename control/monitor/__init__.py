"""What the leader watches.

`monitor`       each canary's guardrails, figures and incident
`outages`       outages that no trial's guardrails hear of: of a baseline without a trial, of a promoted arm
`traffic`       requests that do no canary any good, and requests by caller
`wait_limits`   how long to wait for the candidate
"""
