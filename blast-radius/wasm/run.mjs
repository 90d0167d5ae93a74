// Asks the engine's WASM module the requests on standard input, under node.
//
//   node run.mjs GLUE.js MODULE.wasm < requests > answers
//
// A request: u32 numbers, u32 times to ask, then that many f64; an answer: u32 numbers, u32 times asked,
// then the milliseconds of each time and the numbers, f64. All little-endian, one after the other.
import { readFileSync, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [glue, wasm] = process.argv.slice(2);
const source = readFileSync(glue, "utf8");
// Node takes a module's kind from its file name or from the URL; the glue's name ends in .js.
const engine = await import(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}#${pathToFileURL(glue)}`);
engine.initSync({ module: readFileSync(wasm) });

function write(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  for (let sent = 0; sent < bytes.length; ) sent += writeSync(1, bytes, sent);
}

const input = readFileSync(0);
for (let at = 0; at < input.length; ) {
  const [numbers, times] = [input.readUInt32LE(at), input.readUInt32LE(at + 4)];
  // Copied, since the bytes need not lie at a multiple of eight.
  const request = new Float64Array(new Uint8Array(input.subarray(at + 8, at + 8 + numbers * 8)).buffer);
  at += 8 + numbers * 8;
  const spent = new Float64Array(times);
  let answer = new Float64Array(0);
  for (let run = 0; run < times; run++) {
    const start = performance.now();
    answer = engine.answer(request);
    spent[run] = performance.now() - start;
  }
  write(new Uint32Array([answer.length, times]));
  write(spent);
  write(answer);
}
