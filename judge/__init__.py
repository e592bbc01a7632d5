"""The model that judges answers: what it is asked, what that costs, and what its word is worth."""
