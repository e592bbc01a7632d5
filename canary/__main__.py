"""`python -m canary` is the `canary` command."""

from canary.python_path import leave_working_folder

leave_working_folder()

from canary.cli import main  # noqa: E402 - what it imports must be ours

main()
