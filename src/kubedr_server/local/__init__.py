"""Local mode: an embedded Kubernetes-style API and an executor of its Jobs, on one machine."""
