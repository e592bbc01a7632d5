"""Choose the arm for a request. Pure: no I/O, clock or environment; `now` is an argument."""
