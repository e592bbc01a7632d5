"""One benchmark: two models asked the same examples, compared, and decided on. Values only.

run         asks both models, dataset by dataset; what a benchmark depends on.
figures     completion, latency and cost of both models; by class, and by traffic.
statistics  intervals and tests of examples in clusters.
rubric      the rubric's rows: each metric measured, each row decided.
reasons     what keeps the candidate from shipping, and what belongs beside the verdict.
comparison  all of it, by layer, dataset, category and tag; the wrong answers, a row each.
replay      what both models do next at the steps of captured sessions.
"""
