// Files of weights: fetched once, kept by the browser, checked by their SHA-256, read as float32.

import { ask, refused } from "./ask.js";
import { ScanError } from "./errors.js";

const STORE = "hospintel-models";

const HALVES = Float32Array.from({ length: 65536 }, (_, half) => {
  const [sign, exponent, fraction] = [half & 0x8000 ? -1 : 1, (half >> 10) & 31, half & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});

async function digestOf(buffer) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
  return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function download(url, size, tell) {
  const answer = await ask(url);
  if (!answer.ok) throw await refused(answer, "model_missing", `The hub answered ${answer.status} when asked for the model.`);
  const buffer = new Uint8Array(size);
  const reader = answer.body.getReader();
  let filled = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new ScanError("hub_unreached", "The connection broke while the model was fetched. Try again.");
    });
    if (done) break;
    if (filled + value.length > size) break;
    buffer.set(value, filled);
    filled += value.length;
    tell(filled, size);
  }
  return buffer.buffer;
}

// The bytes of { url, digest, size }; `kept` are the addresses that stay in the browser's store, all others leave it.
export async function fetchFile({ url, digest, size }, tell) {
  const store = await caches.open(STORE).catch(() => null);
  const stored = await store?.match(url);
  if (stored) {
    const buffer = await stored.arrayBuffer();
    if ((await digestOf(buffer)) === digest) return buffer;
    await store.delete(url);
  }
  const buffer = await download(url, size, tell);
  if ((await digestOf(buffer)) !== digest) {
    throw new ScanError("model_digest", "The model's file is not the one that the hub named. Nothing was computed with it.");
  }
  // A full disk, or a private window: it is fetched again the next time.
  await store?.put(url, new Response(buffer, { headers: { "Content-Type": "application/octet-stream" } })).catch(() => {});
  return buffer;
}

// Forget the files that are no longer any model's.
export async function keepOnly(urls) {
  const store = await caches.open(STORE).catch(() => null);
  for (const request of (await store?.keys()) || []) {
    if (!urls.includes(new URL(request.url).pathname)) await store.delete(request);
  }
}

function toFloats(buffer, { dtype, shape, data_offsets: [begin, end] }, start) {
  const size = shape.reduce((product, length) => product * length, 1);
  const bytes = buffer.slice(start + begin, start + end);
  if (dtype === "F32") return new Float32Array(bytes, 0, size);
  if (dtype === "F16") return new Float32Array(new Uint16Array(bytes, 0, size)).map((half) => HALVES[half]);
  if (dtype === "I8") return new Float32Array(new Int8Array(bytes, 0, size));
  throw new ScanError("model_format", `The model's file has numbers of the unknown type ${dtype}.`);
}

// A base of fewer than 16 bits comes deflated (hospintel_core/browser.py).
export async function inflated(buffer) {
  return new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

// Named arrays { values, shape } of a safetensors file; kernels of whole numbers put together: (256 * high + low) * step.
export function readArrays(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const arrays = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name !== "__metadata__") arrays[name] = { values: toFloats(buffer, entry, 8 + length), shape: entry.shape };
  }
  for (const [name, { values: numbers, shape }] of Object.entries(arrays)) {
    if (!name.endsWith("/low")) continue;
    const layer = name.slice(0, -"/low".length);
    const { values: high } = arrays[`${layer}/high`];
    const [step] = arrays[`${layer}/step`].values;
    // In place: as Python does it, in float32.
    for (let at = 0; at < numbers.length; at += 1) numbers[at] = (256 * high[at] + numbers[at]) * step;
    arrays[`${layer}/kernel`] = { values: numbers, shape };
    for (const part of ["low", "high", "step"]) delete arrays[`${layer}/${part}`];
  }
  return arrays;
}
