"""Measured claims. Each module prints ratios and counts; nothing here is asserted in a test."""
