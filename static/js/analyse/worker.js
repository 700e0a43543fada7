// Everything that takes time, beside the page: reading the scan, fetching the model, computing. The scan stays here.

import { ask, refused } from "./ask.js";
import { loadBase } from "./base.js";
import { compare } from "./domain.js";
import { ScanError } from "./errors.js";
import { readHead } from "./head.js";
import { readScan, toInput } from "./pixels.js";
import { fetchFile, inflated, keepOnly, readArrays } from "./weights.js";

const PATIENCE_MS = 120_000;
let base = null;
let head = null;
// What the hub last said, for a scan that is read when it cannot be reached.
let known = null;
let current = 0;

const tell = (stage, done = 0, all = 0) => self.postMessage({ kind: "stage", id: current, stage, done, all });

// What the hub has published: the current version and where its files lie. A worker of the hub may still be writing them.
async function describe(url) {
  for (const end = Date.now() + PATIENCE_MS; ; ) {
    const answer = await ask(url, { headers: { Accept: "application/json", "X-Background": "1" } });
    if (answer.ok) return answer.json();
    if (answer.status !== 503 || Date.now() > end) {
      throw await refused(answer, "model_missing", "The hub did not say which model is current.");
    }
    tell("waiting");
    await new Promise((resume) => setTimeout(resume, 1000 * Number(answer.headers.get("Retry-After") || 2)));
  }
}

// The current version, its files at hand; without a network the one that was current when the hub was last asked.
async function ready(url) {
  try {
    const model = await describe(url);
    await load(model);
    known = model;
    return { model, isOffline: false };
  } catch (error) {
    if (error.code !== "hub_unreached" || !known) throw error;
    return { model: known, isOffline: true };
  }
}

async function load(model) {
  const total = model.base.size + model.head.size;
  if (base?.digest !== model.base.digest) {
    const buffer = await fetchFile(model.base, (done) => tell("fetching", done, total));
    tell("loading");
    const arrays = readArrays(model.base.bits < 16 ? await inflated(buffer) : buffer);
    base = { digest: model.base.digest, ...(await loadBase(model.base.kind, arrays, model.input.size)) };
  }
  if (head?.digest !== model.head.digest) {
    const buffer = await fetchFile(model.head, (done) => tell("fetching", model.base.size + done, total));
    const arrays = readArrays(buffer);
    const layers = model.layers.map(({ name, activation }) => ({
      kernel: arrays[`${name}/kernel`].values,
      bias: arrays[`${name}/bias`].values,
      activation,
    }));
    head = { digest: model.head.digest, layers };
  }
  await keepOnly([model.base.url, model.head.url]);
}

async function read(bytes, url) {
  tell("reading");
  const scan = await readScan(bytes);
  const { model, isOffline } = await ready(url);
  tell("computing");
  const began = performance.now();
  const pixels = toInput(scan, model.input);
  const map = base.run(pixels);
  const features = base.toFeatures(map);
  const found = readHead(map, features, head.layers, model.temperature || 1);
  const domain = compare(model.domain, features, map.depth);
  return { ...found, domain, model, isOffline, scan, pixels, side: map.side, milliseconds: performance.now() - began };
}

async function answer({ id, bytes, url }) {
  current = id;
  try {
    self.postMessage({ kind: "result", id, ...(await read(new Uint8Array(bytes), url)) });
  } catch (error) {
    const code = error instanceof ScanError ? error.code : "browser_failed";
    const detail = error instanceof ScanError ? error.message : `The browser could not compute: ${error.message}`;
    self.postMessage({ kind: "error", id, code, detail });
  }
}

// One after the other: what one scan waits for, the next one would ask for again.
let last = Promise.resolve();
self.addEventListener("message", ({ data }) => {
  last = last.then(() => answer(data));
});
