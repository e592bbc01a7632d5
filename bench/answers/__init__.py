"""Every example asked of every model, and each answer scored.

results     the run: who is asked when, each answer's score, and the answers on disk until the run has ended.
scorers     an answer's score, one pure function a task; of the task `judge` what the judge is asked.
embeddings  the score of the task `similar` by meaning.
batches     all questions in one batch, and how each API takes one.
"""
