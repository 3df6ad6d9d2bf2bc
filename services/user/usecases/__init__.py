"""What the user service does, written over its ports."""
