"""What the recognition service does, over its ports."""
