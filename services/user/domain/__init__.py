"""Types and rules of accounts, sessions, throttled log-ins and the audit log. Standard library only."""
