"""Holds each canary's state, decides, rolls back, and takes orders.

controller  puts the parts together, as one admin process
settings    what the config says of canaries
feed        what happened, on its way here
fleet       several admins: who leads, and how the states reach the workers
monitor     what the leader watches
states      each canary's state and its changes
operator    what people ask and order
jobs        what is done by the clock
"""
