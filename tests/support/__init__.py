"""What tests of several packages share: plugins with fixtures, stand-ins for services, and the loader of helpers."""
