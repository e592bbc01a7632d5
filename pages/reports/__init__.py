"""One module a report: the verdict, a release, candidates beside each other, a plan, the archive."""
