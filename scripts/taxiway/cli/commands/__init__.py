"""The commands, by what they are about.

Their modules are imported for every help text and every completion: what a command works with is
imported in its function, when it is called.
"""
