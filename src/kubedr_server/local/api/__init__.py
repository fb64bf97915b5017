"""The embedded Kubernetes-style API: what kubectl, helm and the controllers talk to in local mode.

It keeps to the real API server's wire behaviour where a client can see it and leaves out what
one user on one machine does not need: RBAC, aggregation, conversion, protobuf. What it serves
and where it knowingly differs is told in docs/design/local-mode.md.
"""
