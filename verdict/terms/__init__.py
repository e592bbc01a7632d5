"""What is fixed before a run: the rubric, the plan of looks, the names of metrics, a canary's terms."""
