"""What people read: what a verdict, a plan, a judge, gains, the archive, a benchmark, a known issue say."""
