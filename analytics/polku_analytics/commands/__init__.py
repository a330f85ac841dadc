"""The commands: options in, text out, nothing computed here. One module a command."""
