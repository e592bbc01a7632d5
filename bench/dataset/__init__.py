"""Examples with a known answer, one a line of a file.

example     one example, its validation, and the prompt that it makes.
file        a whole file: read, summed up, changed by one line; the traffic's weights beside it.
labels      who said which answer is right, and what that is worth.
sample      captured exchanges as new examples, evenly over categories, with labels that a model proposes.
imports     other tools' tests as examples.
"""
