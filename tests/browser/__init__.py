"""A person's way through the plugin's pages, in a real browser on a real Moodle."""
