"""What people read: what a verdict, a plan, a judge, gains, failures, the archive, a benchmark say."""
