"""How a transaction enters an organization."""
