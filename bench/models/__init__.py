"""The models of a benchmark, and how one question reaches one of them.

wires       the request for one answer in each wire API, and the confidence in its answer.
asker       one question to one model over HTTP, and its answer.
targets     a model directly at its provider, or pinned through the running proxy.
pair        the current model and the candidate, found from the command line and the config.
catalogue   the models that a provider lists.
"""
