"""The models of a benchmark, and how one question reaches one of them.

tools       tools, their calls and results; what a model does next.
wires       the request for one answer in each wire API, and the confidence in its answer.
asker       one question to a model, directly at its provider or through the running proxy, and its answer.
pair        the current model and the candidate, found from the command line and the config.
prober      the thirty prompts of `bench.drift`, asked of a model.
catalogue   the models that a provider lists.
"""
