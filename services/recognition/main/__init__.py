"""The recognition service's composition root: `python -m services.recognition.main` serves or migrates."""
