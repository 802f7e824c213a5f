"""Which organizations exist, where they live, and in which state they are."""
