"""The processes of `canary serve`: the supervisor and what it starts, each with its composition root."""
