"""Numbers in, numbers out: no sample, no rubric."""
