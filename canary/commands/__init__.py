"""What a person runs, beside `serve` and `demo`: one module a command, and what several of them share."""
