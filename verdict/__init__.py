"""Judges a candidate by its cohort: values only, no sentence.

terms/       what is fixed before a run: rubric, plan, metrics' names, a canary's terms
sample/      the cohort's traffic as arrays, from a log or from the store
statistics/  ratios, quantiles, sequences, boundaries, exact tests: numbers in, numbers out
rows/        one row of the rubric: its arms, its margins, its looks, its state, and why
decision/    all rows and parts together: the verdict, the report and its document
archive/     what is kept of finished runs: evaluations, releases, trends
planner/     what a plan would tell before it starts
details.py    what a report shows beside its verdict: figures, failures, money
"""
