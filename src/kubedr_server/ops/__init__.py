"""Logging, metrics, TLS: what every part needs and that needs no part."""
