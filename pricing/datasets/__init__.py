"""Readers that turn real data into the tables of pricing.schema; each says what it derived."""
