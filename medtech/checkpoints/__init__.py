"""How far the app has read its hub, and setting that back."""
