// Ask with the project's client for TypeScript, which Node reads as it is. Print the results.

const [address, file] = process.argv.slice(2);
const { Fleet, FleetError } = await import(file);
const found = {};

async function read(events, onEvent = () => {}) {
  const seen = { text: "", seqs: [], kinds: [] };
  for await (const event of events) {
    seen.kinds.push(event.type);
    seen.seqs.push(event.seq);
    if (event.type === "response.delta") seen.text += event.delta;
    await onEvent(event, seen);
  }
  return seen;
}

const fleet = new Fleet(address);
const whole = await read(fleet.ask({ message: "What is the answer?" }));
found.answer = [whole.text, whole.kinds[0], whole.kinds.at(-1)];

// Each connection breaks after a few events.
let connections = 0;
async function breaking(...words) {
  connections += 1;
  const response = await fetch(...words);
  if (!words[0].includes("/events")) return response;
  let pieces = 0;
  const cut = new TransformStream({
    transform(piece, controller) {
      pieces += 1;
      if (pieces > 3) controller.error(new TypeError("network error"));
      else controller.enqueue(piece);
    },
  });
  return new Response(response.body?.pipeThrough(cut), { status: response.status });
}
const broken = await read(new Fleet(address, { fetch: breaking }).ask({ message: "Many words" }));
found.resumed = [broken.text, connections > 3];
found.isInOrder = broken.seqs.every((seq, at) => seq === at + 1);

const { run } = await fleet.start({ message: "For ever" });
const cancelled = await read(fleet.follow(run), async (event) => {
  if (event.type === "response.delta") await fleet.cancel(run);
});
found.cancelled = cancelled.kinds.slice(-2);
const last = cancelled.seqs.at(-1);
found.isOver = (await read(fleet.follow(run, last))).kinds;

try {
  await fleet.start({ message: "Hello?", model: "another" });
} catch (error) {
  found.refused = [error instanceof FleetError, error.status, error.code];
}
console.log(JSON.stringify(found));
process.exit();
