// The page around the worker: takes one file, tells how far it is, and has the result shown.

import { ScanError } from "./errors.js";
import { readOnHub } from "./hub.js";
import { watchVersion } from "./newer.js";
import { clearResult, show, showMap } from "./result.js";

const place = document.getElementById("analyse");
const find = (id) => document.getElementById(id);
let worker = null;
let asked = 0;
let chosen = null;
// The version that read what is shown, or would read the next scan.
let version = Number(place?.dataset.version);

const STAGES = {
  reading: "Reading the scan",
  waiting: "The hub is writing the model for this page",
  fetching: "Fetching the model",
  loading: "Getting the model ready",
  computing: "Computing",
  sending: "The hub reads the scan",
};

// Where the file itself or the connection is at fault, the hub would fare no better.
const IN_VAIN = /^(image_|dicom_(?!compressed$)|file_unreadable|one_scan|not_secure|not_a_member|hub_unreached|signed_out)/;

function fail(code, detail) {
  find("stage").hidden = true;
  const line = document.createElement("p");
  line.className = "errors";
  line.dataset.code = code;
  line.textContent = detail;
  find("scan-error").replaceChildren(line);
  find("scan").setAttribute("aria-invalid", "true");
  const isHopeless = IN_VAIN.test(code);
  Object.assign(find("on-hub"), { hidden: isHopeless || !chosen, open: !isHopeless });
}

function tellStage({ stage, done, all }) {
  const bar = find("stage-bar");
  const size = all ? `: ${(done / 1e6).toFixed(1)} of ${(all / 1e6).toFixed(1)} MB` : "";
  const text = find("stage-text");
  // Those who listen hear each stage once, not every megabyte.
  if (text.dataset.stage !== stage || size) text.textContent = STAGES[stage] + size;
  text.setAttribute("aria-live", size ? "off" : "polite");
  text.dataset.stage = stage;
  if (all) Object.assign(bar, { max: all, value: done });
  else bar.removeAttribute("value");
  find("stage").hidden = false;
}

function tellVersion(number) {
  if (number === version) return;
  version = number;
  find("version").textContent = number;
  const isShown = !find("result").hidden;
  find("newer-text").textContent = `Version ${number} has been published since this page was opened.`;
  find("again").hidden = !isShown;
  find("newer").hidden = false;
}

function finish(result) {
  find("stage").hidden = true;
  // Said already by the result itself.
  version = result.model.version;
  find("version").textContent = version;
  find("newer").hidden = true;
  show(result, chosen.name);
}

function listen({ data }) {
  if (data.id !== asked) return;
  if (data.kind === "stage") tellStage(data);
  else if (data.kind === "error") fail(data.code, data.detail);
  else finish(data);
}

function start() {
  worker = new Worker(place.dataset.worker, { type: "module" });
  worker.addEventListener("message", listen);
  worker.addEventListener("error", () => {
    worker.terminate();
    worker = null;
    if (chosen) fail("browser_failed", "The part of this page that computes did not start, or stopped. Load the page again, or have the hub read the scan.");
  });
}

function clear() {
  asked += 1;
  find("scan-error").replaceChildren();
  find("scan").removeAttribute("aria-invalid");
  clearResult();
}

async function read(file) {
  clear();
  chosen = file;
  if (worker === null) start();
  Object.assign(find("on-hub"), { hidden: false, open: false });
  const mine = asked;
  const bytes = await file.arrayBuffer().catch(() => null);
  if (mine !== asked) return;
  if (bytes === null) fail("file_unreadable", "The file cannot be read: was it moved, or is it a folder?");
  else worker.postMessage({ id: mine, bytes, url: new URL(place.dataset.model, window.location).href }, [bytes]);
}

function take(files) {
  if (!files.length) return;
  clear();
  chosen = null;
  find("on-hub").hidden = true;
  if (files.length > 1) fail("one_scan", "One scan at a time: choose or drop a single file.");
  else if (!window.isSecureContext) {
    fail("not_secure", "Browsers compute with a checked model only on pages that came over TLS: open the hub's https address.");
  } else read(files[0]);
}

// Only by the button that says so, and only the file that stands above it.
async function send() {
  clear();
  const mine = asked;
  const token = find("send-form").elements.csrfmiddlewaretoken.value;
  find("send").disabled = true;
  tellStage({ stage: "sending" });
  try {
    const result = await readOnHub(await chosen.arrayBuffer(), { ...place.dataset, token });
    if (mine === asked) finish(result);
  } catch (error) {
    const isKnown = error instanceof ScanError;
    const detail = isKnown ? error.message : `What the hub answered cannot be shown: ${error.message}`;
    if (mine === asked) fail(isKnown ? error.code : "hub_failed", detail);
  }
  find("send").disabled = false;
}

function listenToDrops() {
  const drop = find("drop");
  for (const kind of ["dragover", "dragenter"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop", "dragend"]) document.addEventListener(kind, () => drop.classList.remove("over"));
  // Anywhere on the page: a file dropped beside the field would otherwise be opened by the browser instead of the page.
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const { files } = event.dataTransfer;
    // The field names what was dropped, as if it had been chosen there.
    if (files.length === 1) find("scan").files = files;
    take([...files]);
  });
}

if (place) {
  start();
  watchVersion(place.dataset.model, tellVersion);
  listenToDrops();
  find("send-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  find("scan").addEventListener("change", (event) => take([...event.target.files]));
  // The same file again is a choice too.
  find("scan").addEventListener("click", (event) => {
    event.target.value = "";
  });
  find("show-map").addEventListener("change", showMap);
  find("again-button").addEventListener("click", () => read(chosen));
  find("print").addEventListener("click", () => window.print());
}
