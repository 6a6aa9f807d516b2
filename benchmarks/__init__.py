"""What the sidecar can do, measured beside what it replaces. Nothing here is asserted."""
