"""What a person starts: command line, configuration, processes. The one place that knows every room."""

__version__ = "0.1.0"
