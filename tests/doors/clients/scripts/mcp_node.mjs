// The client of MCP's SDK for TypeScript. Prints what a scene gives.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [address, token, scene, ...words] = process.argv.slice(2);
const transport = new StreamableHTTPClientTransport(new URL(`${address}mcp`), {
  requestInit: { headers: { Authorization: `Bearer ${token}` } },
});
const client = new Client({ name: "test", version: "1" });
const steps = [];
const problems = [];
client.onerror = (error) => problems.push(error.message);

const ask = (question) =>
  client.callTool({ name: "ask", arguments: { question } }, undefined, {
    onprogress: (progress) => steps.push(progress),
  });

const scenes = {
  async ask() {
    const { tools } = await client.listTools();
    return { tools: tools.map((tool) => tool.name), result: await ask(words[0]) };
  },
  async refused() {
    return await ask(words[0]);
  },
};

let found;
try {
  await client.connect(transport);
  found = await scenes[scene]();
} catch (error) {
  found = { code: error.code, message: error.message };
}
const version = transport.protocolVersion;
console.log(JSON.stringify({ found, steps, problems, version }));
await transport.terminateSession().catch(() => {});
await client.close();
