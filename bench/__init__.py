"""Offline benchmarks: models on examples with a known answer. No user traffic. `pages` has the words.

errors        what can go wrong, as a tree.
settings      the part of the config that a benchmark needs.
models        the models of a benchmark, and how one question reaches one of them.
dataset       examples in a file: read, sampled, labelled, imported.
answers       every example asked of every model, and each answer scored.
benchmark     two models compared on examples, by the rubric.
preflight     the requests that a candidate takes, before any user asks it.
drift         whether a model still answers as it did.
known_issues  failure modes that a model once had, which every later model is asked for.
"""
