"""How weights are made that come with the project, or that tests and benchmarks use: from code, always the same."""
