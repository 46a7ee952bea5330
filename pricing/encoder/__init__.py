"""The language model: from a shop's tables to a fine-tuned, exported encoder. Knows no price that is charged."""
