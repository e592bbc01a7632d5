"""A status document for people: a canary's standing, its rules, both arms, and all of it in a terminal."""
