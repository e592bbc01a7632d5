"""What several rooms need. It imports no room.

`bounded_http`    clients whose answers are read in bounds and never unpacked
`clock`           the present, and loops that wait and work
`groups`          things in groups, by what they have in common
`interval`        an interval, and Wilson's of a proportion
`concentration`   the parts of the traffic in which failures concentrate
`numbers`         a number as people read it
`text`            texts of others, made harmless where they are shown
`whole_file`      small files that are replaced as a whole
"""
