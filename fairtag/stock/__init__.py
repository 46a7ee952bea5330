"""What stock is worth and how long it lasts."""
