"""The page for those who write mappings, and what it alone asks the app for."""
