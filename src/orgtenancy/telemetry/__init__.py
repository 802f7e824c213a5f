"""What a service tells of itself while it runs, by organization."""
