"""Publish a run to the Hub in one commit, fetch it back, and export it beside the Hub."""
