"""What the endpoint reads and keeps: features, price locks, the quote log."""
