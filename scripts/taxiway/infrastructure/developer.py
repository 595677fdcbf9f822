"""Who the developer is, as Google's own tools on this machine know it."""

from __future__ import annotations

import configparser
import os
from pathlib import Path


def address() -> str:
    """Return the e-mail address that `gcloud` is signed in with; empty where it is not."""
    if named := os.environ.get("CLOUDSDK_CORE_ACCOUNT"):
        return named
    folder = Path(os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud")
    try:
        active = (folder / "active_config").read_text().strip()
    except FileNotFoundError:
        active = "default"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder / "configurations" / f"config_{active}")
    except configparser.Error:
        return ""
    return parser.get("core", "account", fallback="")
