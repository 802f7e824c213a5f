"""What the web adapters say the same way, free of any framework."""
