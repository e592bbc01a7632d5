"""What rules count and prove: `statistics` are bets and windows, `exchanges` says which exchanges count."""
