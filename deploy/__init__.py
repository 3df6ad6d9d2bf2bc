"""Running Candela in containers: images, compose, Kubernetes. docs/deployment.md tells how."""
