"""Runs that are killed, stopped and given broken disks, as processes."""
