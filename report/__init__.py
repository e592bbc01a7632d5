"""Did it win: the cohort's samples, statistics, rubric, verdict and its renderings."""
