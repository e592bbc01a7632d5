"""Who is asking, and what may that role do: the guard, sessions, sign-in by token or OpenID Connect."""
