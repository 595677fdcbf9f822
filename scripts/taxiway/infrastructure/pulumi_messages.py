"""What `pulumi` printed, in one or two sentences."""

from __future__ import annotations

import re

_NO_KEYS = "iam.disableServiceAccountKeyCreation"
# The automation interface puts its own words before the first line of each stream.
_ERROR = re.compile(r"^\s*(?:stderr: )?error: (?!update failed)(.+?)\s*$", re.MULTILINE)


def sentences(output: str) -> tuple[str, str]:
    """Return the errors among Pulumi's output, each once, and a remedy where one is known."""
    if _NO_KEYS in output:
        return (
            "The organization forbids service-account keys.",
            "Work without one: pulumi config set taxiway:credentials impersonation",
        )
    if "incorrect passphrase" in output:
        return (
            "The passphrase is not the one that the stack was made with.",
            "Put it into PULUMI_CONFIG_PASSPHRASE_FILE; that of a checkout is .taxiway/_engine/passphrase.",
        )
    if "failed to load application credentials" in output:
        return (
            "Google Cloud cannot be asked: there are no credentials of yours.",
            "Sign in with: gcloud auth application-default login",
        )
    errors = list(dict.fromkeys(_ERROR.findall(output)))
    return "\n".join(errors[:5]) or output.strip()[-500:], ""
