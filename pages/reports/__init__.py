"""One module a report: verdict, release, candidates beside each other, plan, archive, benchmark, replay."""
