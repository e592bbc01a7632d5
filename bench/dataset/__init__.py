"""Examples with a known answer, one a line of a file.

example     one example, its validation, and the prompt that it makes.
file        a whole file: read, summed up, changed by one line.
labels      who said which answer is right, and what that is worth.
proposals   labels that a model writes, for people to review.
sample      captured exchanges as new examples, evenly over categories.
kinds       what kind of input a captured exchange has.
weights     each category's share of the traffic, beside a file that has as many of each.
imports     other tools' tests as examples.
"""
