"""Admission webhooks: defaults and validation of the four kinds, as pure rules behind one envelope."""
