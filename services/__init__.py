"""Candela's services; each stands alone and shares only `kit`."""
