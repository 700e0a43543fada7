// Everything that takes time, beside the page: reading the scan, fetching the model, computing. The scan stays here.

import { loadBase } from "./base.js";
import { ScanError } from "./errors.js";
import { readHead } from "./head.js";
import { readScan, toInput } from "./pixels.js";
import { fetchFile, keepOnly, readArrays } from "./weights.js";

const PATIENCE_MS = 120_000;
let base = null;
let head = null;

const tell = (stage, done = 0, all = 0) => self.postMessage({ kind: "stage", stage, done, all });

// What the hub has published: the current version and where its files lie. A worker of the hub may still be writing them.
async function describe(url) {
  for (const end = Date.now() + PATIENCE_MS; ; ) {
    const answer = await fetch(url, { headers: { Accept: "application/json", "X-Background": "1" } });
    if (answer.ok && !answer.redirected) return answer.json();
    if (answer.status !== 503 || Date.now() > end) {
      const told = await answer.json().catch(() => ({}));
      throw new ScanError(told.code || "model_missing", told.detail || "The hub did not say which model is current.");
    }
    tell("waiting");
    await new Promise((resume) => setTimeout(resume, 1000 * Number(answer.headers.get("Retry-After") || 2)));
  }
}

async function load(model) {
  const total = model.base.size + model.head.size;
  if (base?.digest !== model.base.digest) {
    const buffer = await fetchFile(model.base, (done) => tell("fetching", done, total));
    tell("loading");
    base = { digest: model.base.digest, ...(await loadBase(model.base.kind, readArrays(buffer), model.input.size)) };
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
  const model = await describe(url);
  await load(model);
  tell("computing");
  const began = performance.now();
  const pixels = toInput(scan, model.input);
  const map = base.run(pixels);
  const found = readHead(map, base.toFeatures(map), head.layers, model.temperature || 1);
  return { ...found, model, scan, pixels, side: map.side, milliseconds: performance.now() - began };
}

self.addEventListener("message", async ({ data: { id, bytes, url } }) => {
  try {
    self.postMessage({ kind: "result", id, ...(await read(new Uint8Array(bytes), url)) });
  } catch (error) {
    const code = error instanceof ScanError ? error.code : "browser_failed";
    const detail = error instanceof ScanError ? error.message : `The browser could not compute: ${error.message}`;
    self.postMessage({ kind: "error", id, code, detail });
  }
});
