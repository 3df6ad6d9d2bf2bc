"""What holds for every list that the services offer."""
