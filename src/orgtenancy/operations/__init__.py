"""What an operator does to a placement as a whole."""
