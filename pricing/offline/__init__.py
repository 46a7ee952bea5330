"""What a log says about prices nobody has shown yet, and the gate before launch (PRICING.md section 8)."""
