"""The model that judges answers, and what its word is worth.

terms       what the config says of it
model       what it is asked, at which highest price, and how its answers are read
judgements  what it said, in the store, and which of a run's judgements count
figures     what a report says of it: how far people agree with it, and with each other
runs        what it does of the canaries' runs, in the background or for a person who waits
benchmark   its word about both models' answers to a benchmark's examples; that decides nothing
"""
