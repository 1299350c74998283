"""The sources, by the service they speak to."""
