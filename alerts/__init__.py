"""Guardrails, their evidence, incidents and notifications. Judges and notifies; `control` rolls back."""
