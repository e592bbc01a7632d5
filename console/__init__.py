"""The operator's page and admin API."""
