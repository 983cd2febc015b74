"""Attacks on the app, and what docs/security.md says of them."""
