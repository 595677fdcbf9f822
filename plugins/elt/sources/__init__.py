"""Where files come from: the publisher's site, and what has changed there."""
