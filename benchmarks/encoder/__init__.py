"""Speed of the text encoder: answering and fine-tuning."""
