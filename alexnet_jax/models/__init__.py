"""The networks: AlexNet of §3.5."""
