"""What is kept of finished runs: evaluations, releases, and the trends over them."""
