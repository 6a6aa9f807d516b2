"""ManiReports sidecar: takes over the bulk mail of a Moodle or IOMAD site."""

__version__ = "0.1.0"
