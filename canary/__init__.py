"""What a person starts: command line, configuration, processes. The one place that knows every room."""

from canary.python_path import put_rooms_first

__version__ = "0.1.0"

put_rooms_first()
