"""Backup, restore and reset of a data directory: `make backup`, `make restore`, `make reset`."""
