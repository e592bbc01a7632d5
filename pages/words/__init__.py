"""What people read of values: what a verdict, a plan, a judge, gains, failures, trends, a benchmark say."""
