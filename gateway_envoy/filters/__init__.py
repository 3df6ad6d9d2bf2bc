"""One builder per Envoy filter. Each returns the filter's entry in the chain, and what a route may say about it."""
