"""What every part stands on: errors, files, the schema, tables, text, and the types they share."""
