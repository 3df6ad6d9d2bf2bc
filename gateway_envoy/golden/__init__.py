"""The committed configuration of the default settings, and the contract it is made for."""
