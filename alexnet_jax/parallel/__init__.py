"""Devices: the (data, column) mesh of §3.2 and what lies where on it."""
