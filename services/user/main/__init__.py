"""The user service's composition root: `python -m services.user.main` serves, migrates or checks the audit log."""
