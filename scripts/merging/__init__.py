"""One plugin made of an existing ManiReports and the sidecar's own: docs/plugin-merge.md."""
