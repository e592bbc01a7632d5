"""Who gets which arm. Pure: no I/O, no clock, no environment; `now` is passed in."""
