"""The embedded target: processes on this machine."""
