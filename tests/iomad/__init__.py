"""The proof against a real IOMAD: cron and the sidecar on one queue. See README.md."""
