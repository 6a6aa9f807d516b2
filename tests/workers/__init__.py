"""Tests of the workers that run at providers."""
