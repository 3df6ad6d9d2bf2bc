"""The version of the distribution `candela-client`."""

__version__ = "0.1.0"
