"""The language model: from a shop's tables to a fine-tuned, exported encoder."""
