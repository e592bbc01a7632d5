"""One benchmark: two models asked the same examples, compared, and decided on. Values only.

run         asks both models, dataset by dataset.
figures     completion, latency and cost of both models; by class, and by traffic.
statistics  intervals and tests of examples in clusters.
metrics     a rubric's metrics, from the results.
rows        the rubric's rows, each with its state.
reasons     what keeps the candidate from shipping, and what belongs beside the verdict.
comparison  all of it, by layer, dataset, category and tag.
failures    the wrong answers, a row each.
"""
