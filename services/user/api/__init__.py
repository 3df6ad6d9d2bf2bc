"""The contract's two services over the use cases."""
