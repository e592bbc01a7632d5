"""Several admins: who leads, and how the states reach the workers."""
