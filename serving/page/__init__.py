"""One priced page, from request to answer."""
