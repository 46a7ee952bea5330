"""Pipeline wiring and the command line; no mathematics lives here."""
