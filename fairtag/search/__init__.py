"""From a query to candidate items: by meaning, by words, and both fused."""
