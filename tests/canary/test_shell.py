"""What commands have in common: whose name stands beside what they record."""

import os

from canary.commands.shell import owner


def test_who_has_no_name_on_this_machine_is_named_by_number() -> None:
    def nobody() -> str:
        raise OSError("No username set in the environment")

    assert owner(nobody) == f"uid {os.getuid()}"
    assert owner(lambda: "ann") == "ann"
