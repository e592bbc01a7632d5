"""What a record holds, without I/O.

`exchange_id`       signed ids
`feedback`          values from people: a metric's rules, requests, files
`feedback_mapping`  feedback from other systems' exports and webhooks
`metric`            what is measured, and bounds on it
`prices`            what a request cost, and arms without a known price
`price_list`        the list of prices that is kept up to date
`counts`            counts over batches of outcomes
`standing`          a standing canary's baselines and trials
"""
