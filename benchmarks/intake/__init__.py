"""Claims about the way in: checking a shop's tables, and the time to its first priced query."""
