"""The recognition service: documents to structured text, and each user's history of it."""
