"""Duplicates among pairs: texts → edges → clusters → the rows that are dropped, and the row each one duplicates."""
