"""The registry of stages: whatever is not in it is an error of the caller."""

import pytest

from elt.errors import UsageError


def test_an_unknown_stage_is_a_usage_error_that_lists_those_there_are(stack):
    with pytest.raises(UsageError, match=r"stage 'dowload' is unknown\. Choose one of: download, conform, "):
        stack.run("dowload", "yellow", "2024-01")
    assert stack.objects() == {}
