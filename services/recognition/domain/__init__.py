"""Types and rules of recognition; standard library only."""
