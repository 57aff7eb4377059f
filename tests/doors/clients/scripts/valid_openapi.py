"""Print what is wrong with an OpenAPI document."""

import json
import sys
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

document = json.loads(Path(sys.argv[1]).read_text())
print(json.dumps([error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]))
