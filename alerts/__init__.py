"""Is it going wrong: windows, evidence, guardrails, incidents, notifiers. Decides; others act."""
