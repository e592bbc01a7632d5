"""What a person runs: a module for each command, or for a few about one thing.

shell        what all of them share: options, output, how a problem ends a command
client       a running server's address, and its admin API
status       `status`, `wait`, `explain`; `orders` are `start`, `ramp`, `promote`, `decide` and the others
serve        `serve`, `demo`, `mcp`, whose tools are in `mcp_server`
guardrails   `simulate`, `rules`
bench        `bench`; `bench_archive` stores what came of it
doctor       `doctor`; `doctor_machine` and `doctor_network` have its checks
"""
