"""Send requests as schemathesis makes them out of the server's own OpenAPI document.

Print whether it found an answer that the document doesn't promise, or a fault, and what it says.
"""

import json
import subprocess
import sys
import tempfile

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)

address, token, paths, count = sys.argv[1:]
folder = tempfile.TemporaryDirectory()
done = subprocess.run(
    [
        *("schemathesis", "run", f"{address}api/v1/openapi.json", "--no-color"),
        *("--header", f"Authorization: Bearer {token}", "--include-path-regex", paths),
        *("--max-examples", count, "--seed", "1", "--request-timeout", "30"),
        *("--suppress-health-check", "all", "--checks", ",".join(CHECKS)),
    ],
    capture_output=True,
    text=True,
    check=False,
    cwd=folder.name,  # in which it notes what it has found
)
print(json.dumps({"code": done.returncode, "said": done.stdout + done.stderr}))
