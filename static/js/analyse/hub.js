// The hub reads a scan: sealed here for the hub's worker, which opens it in its memory; the answer is for this page alone.
// The layout is described in apps/analyse/pipeline/sealed.py.

import { ask as call, refused } from "./ask.js";
import { ScanError } from "./errors.js";
import * as png from "./png.js";

const NONCE = 12;
const PATIENCE_MS = 65_000;
const LOOK_MS = 150;
const SCAN = new TextEncoder().encode("hospintel scan v1");
const ANSWER = new TextEncoder().encode("hospintel answer v1");
const MOST_PIXELS = 1_000_000;

const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

async function seal(bytes, pem) {
  const spki = fromBase64(pem.replace(/-----[^-]+-----|\s/g, ""));
  const hub = await crypto.subtle.importKey("spki", spki, { name: "RSA-OAEP", hash: "SHA-256" }, false, ["encrypt"]);
  const raw = crypto.getRandomValues(new Uint8Array(32));
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
  const wrapped = await crypto.subtle.encrypt({ name: "RSA-OAEP", label: SCAN }, hub, raw);
  const iv = crypto.getRandomValues(new Uint8Array(NONCE));
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: SCAN }, key, bytes);
  return { key, body: await new Blob([wrapped, iv, sealed]).arrayBuffer() };
}

const hubFailed = (answer) => refused(answer, "hub_failed", `The hub answered ${answer.status}.`);

async function waitFor(url) {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; ) {
    const answer = await call(url, { headers: { "X-Background": "1" } });
    if (answer.status === 200) return answer.arrayBuffer();
    if (answer.status !== 202) throw await hubFailed(answer);
    await new Promise((resume) => setTimeout(resume, LOOK_MS));
  }
  throw new ScanError("reading_lost", "The hub did not get to this scan. Send it again.");
}

// Returns what the worker of this page would: { model, probabilities, maps, side, scan, milliseconds, byHub: true }.
export async function readOnHub(bytes, { ask, key: pem, kid, token }) {
  const { key, body } = await seal(bytes, pem);
  const headers = { "Content-Type": "application/octet-stream", "X-CSRFToken": token };
  const sent = await call(`${ask}?kid=${encodeURIComponent(kid)}`, { method: "POST", headers, body });
  if (sent.status !== 202) throw await hubFailed(sent);
  const sealed = new Uint8Array(await waitFor((await sent.json()).url));
  const iv = sealed.subarray(0, NONCE);
  const plain = await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: ANSWER }, key, sealed.subarray(NONCE));
  const answer = JSON.parse(new TextDecoder().decode(plain));
  if (answer.code) throw new ScanError(answer.code, answer.detail);
  const scan = await png.decode(png.parse(fromBase64(answer.picture), MOST_PIXELS));
  return { ...answer, byHub: true, scan };
}
