// Print the JSON Schema of AsyncAPI 3.0 documents.
import { createRequire } from "node:module";

const specs = createRequire(import.meta.url)("@asyncapi/specs");
console.log(JSON.stringify(specs.schemas["3.0.0"]));
