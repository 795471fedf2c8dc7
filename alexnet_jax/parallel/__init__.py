"""The (data, column) mesh of devices (§3.2), and exchanges between hosts."""
