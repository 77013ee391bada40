"""
Duplicates among pairs: texts in, edges out; edges in, clusters out; clusters in, and out comes which rows are dropped,
and of which row each is a duplicate.
"""
