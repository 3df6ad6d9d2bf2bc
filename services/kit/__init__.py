"""What every Candela server shares: bootstrap, interceptors, errors, settings, units of work, clock."""
