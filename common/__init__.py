"""What several rooms need. It imports no room.

`clock`           the present, and loops that wait and work
`interval`        an interval, and Wilson's of a proportion
`concentration`   the parts of the traffic in which failures concentrate
"""
