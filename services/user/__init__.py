"""Accounts, sessions and the audit log of who did what."""
