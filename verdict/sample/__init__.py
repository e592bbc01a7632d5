"""The cohort's traffic as arrays, read from a log or from the store, and the values of a metric in it."""
