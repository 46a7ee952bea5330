"""Search: from a query to candidate items, by meaning and by words."""
