"""What every canary is: its state and changes, who may change it, and how the plan reaches the workers."""
