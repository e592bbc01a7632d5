"""Each canary's state.

`rollouts`     changes, and rollbacks that wait for the store
`preflights`   the questions asked before a start
"""
