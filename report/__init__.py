"""Judges a candidate: the cohort's samples, statistics, the rubric, the verdict, and its renderings."""
