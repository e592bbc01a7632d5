"""What people ask and order."""
