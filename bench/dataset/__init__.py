"""Examples with a known answer, one a line of a file.

example     one example, its validation, and the prompt that it makes.
file        a whole file: read, summed up, changed by one line; the traffic's weights beside it.
labels      who said which answer is right, and what that is worth.
proposals   labels that a model writes, for people to review.
sample      captured exchanges as new examples, evenly over categories, each with its kind of input.
imports     other tools' tests as examples.
"""
