"""Processes that price pages beside the server."""
