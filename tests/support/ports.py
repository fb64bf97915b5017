"""Free ports for the tests' servers."""

from kubedr_server.local.demo.ports import free_ports


def free_port() -> int:
    """Return one free port of 127.0.0.1."""
    return free_ports(1)[0]


__all__ = ["free_port", "free_ports"]
