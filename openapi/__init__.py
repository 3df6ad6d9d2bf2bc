"""The OpenAPI 3.1 document of what a gateway serves, made from the contract: `python -m openapi build`."""
