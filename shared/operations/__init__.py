"""What operators do at a command line: `python -m shared.operations`, with the settings of a deployment."""
