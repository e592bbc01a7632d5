"""What each canary is and who decides: states, leadership, plan, orders, the monitor that rolls back."""
