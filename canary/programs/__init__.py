"""The processes of `canary serve`: the supervisor and what it starts, each with its composition root.

serve        the supervisor: sockets, children, drain
worker       a traffic worker; `capturer` writes the texts it captures, `routes` makes its routes of a config
controller   the admin process; `fleet` has its parts among several, `roller` one turn of writing segments
agent        stands beside the workers of a replica, in the admin process's place
listeners    what listens, for apps and for operators
process      what every child shares: arguments, start, signals; `config_pipe` takes the config to it
health       a container's health check
"""
