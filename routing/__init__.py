"""Which arm a unit gets, and how a canary's state may change. Pure: no I/O, clock or environment.

`canary`        a canary as configured, its arms, and what an arm changes in a request
`states`        the states of all canaries, with their lanes
`transitions`   how a state may change
`holds`         who keeps an arm through a change of share
`sessions`      who began a session, and which arm it has
`lanes`         how canaries that match the same requests share units
`assign`, `assignment`, `cohort`    a unit's arm, by a keyed hash
`identity`      the unit and the session that a text names
`caller`        a team with a key of its own
"""
