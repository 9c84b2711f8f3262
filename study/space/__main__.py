"""`python -m study.space > study/space_schema.json`: write the JSON schema anew."""

import json
import sys

from study.space.schema import space_schema

sys.stdout.write(json.dumps(space_schema(), indent=1) + "\n")
