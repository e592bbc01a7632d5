"""Every example asked of every model, and each answer scored.

results     the run: who is asked when, and each answer's score.
scorers     an answer's score, one pure function a task.
marks       the score of the task `judge`: what the judge is asked, and how its mark is read.
embeddings  the score of the task `similar` by meaning.
saved       a run's answers on disk, until it has ended.
batches     all questions in one batch; `batch_wires` is how each API takes one.
"""
