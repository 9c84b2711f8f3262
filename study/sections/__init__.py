"""The parts of the report's page, one file each: what a part says is gathered first, then written as HTML."""
