"""What rules count and prove: `bets` is the evidence, `windows` recent figures, `exchanges` who counts."""
