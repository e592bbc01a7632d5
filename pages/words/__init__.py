"""What people read: what verdicts, plans, a judge, gains, the archive, benchmarks, issues, drift say."""
