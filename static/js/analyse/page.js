// The page around the worker: takes one file, tells how far it is, shows what came out. Text first, then the picture.

import { ScanError } from "./errors.js";
import { readOnHub } from "./hub.js";
import { drawMap, drawScan, whereStrongest } from "./picture.js";

const place = document.getElementById("analyse");
const find = (id) => document.getElementById(id);
let worker = null;
let asked = 0;
let chosen = null;

const STAGES = {
  reading: "Reading the scan",
  waiting: "The hub is writing the model for this page",
  fetching: "Fetching the model",
  loading: "Getting the model ready",
  computing: "Computing",
  sending: "The hub reads the scan",
};

function fail(code, detail) {
  find("stage").hidden = true;
  const box = find("scan-error");
  box.replaceChildren();
  const line = document.createElement("p");
  line.className = "errors";
  line.dataset.code = code;
  line.textContent = detail;
  box.append(line);
  find("scan").setAttribute("aria-invalid", "true");
  find("on-hub").open = true;
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

// No model is as sure as "100.0 %" would read.
function percent(share) {
  if (share >= 0.9995) return "over 99.9 %";
  return share < 0.0005 ? "under 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

const named = (name) => (name === "notumor" ? "No tumor" : name[0].toUpperCase() + name.slice(1));

function bar(share) {
  const make = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const svg = make("svg", { class: "share", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(make("rect", { class: "rest", width: 100, height: 8 }), make("rect", { width: 100 * share, height: 8 }));
  return svg;
}

function row(name, share) {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  const cell = document.createElement("td");
  head.scope = "row";
  head.textContent = named(name);
  cell.className = "number with-bar";
  const figure = document.createElement("span");
  figure.textContent = percent(share);
  cell.append(bar(share), figure);
  line.append(head, cell);
  return line;
}

function note(text, kind) {
  const line = document.createElement("li");
  line.textContent = text;
  if (kind) line.className = kind;
  return line;
}

// Fewer bits, fewer megabytes: what that costs was measured when the model was written for this page.
function coarse({ base }) {
  if (!base?.agreement) return [];
  const { scans, same, largest } = base.agreement;
  return [
    note(
      `The base comes in ${base.bits} bits a weight (${(base.size / 1e6).toFixed(0)} MB). On ${scans} synthetic scans this version ` +
        `found the same class as with the exact base in ${same}, its probabilities at most ${percent(largest)} apart.`,
    ),
  ];
}

function notes({ model, milliseconds, byHub }) {
  const where = byHub ? "on the hub, where nothing of the scan was kept" : "in this browser";
  return [
    note(`Read by version ${model.version} (${model.digest.slice(0, 12)}), ${where}, in ${(milliseconds / 1000).toFixed(2)} s.`),
    note(model.temperature ? `Calibrated on the hub's validation set.` : "Not calibrated: the hub has no validation set for this version."),
    note("No domain check: the hub has no validation set to compare the scan with."),
    ...coarse(model),
    note("Not a medical device."),
  ];
}

function show(result) {
  const { probabilities, model } = result;
  const best = probabilities.indexOf(Math.max(...probabilities));
  find("stage").hidden = true;
  find("nothing").hidden = true;
  find("result").hidden = false;
  const strong = document.createElement("strong");
  strong.className = "figure-big";
  strong.textContent = named(model.classes[best]);
  find("said").replaceChildren(strong, ` ${percent(probabilities[best])}, the most probable of ${probabilities.length} classes`);
  find("probabilities").tBodies[0].replaceChildren(...model.classes.map((name, at) => row(name, probabilities[at])));
  find("notes").replaceChildren(...notes(result));
  find("map-class").textContent = named(model.classes[best]).toLowerCase();
  find("map-text").textContent = whereStrongest(result.maps[best], result.side);
  drawScan(find("picture"), result.scan);
  find("picture").setAttribute("aria-label", `The scan, ${result.scan.width} x ${result.scan.height} pixels`);
  drawMap(find("overlay"), result.maps[best], result.side);
  find("overlay").hidden = !find("show-map").checked;
}

function listen({ data }) {
  if (data.kind === "stage") tellStage(data);
  else if (data.id !== asked) return;
  else if (data.kind === "error") fail(data.code, data.detail);
  else show(data);
}

function start() {
  worker = new Worker(place.dataset.worker, { type: "module" });
  worker.addEventListener("message", listen);
  worker.addEventListener("error", () => fail("browser_failed", "The browser cannot run the part of this page that computes."));
}

function clear() {
  asked += 1;
  find("scan-error").replaceChildren();
  find("scan").removeAttribute("aria-invalid");
  find("result").hidden = true;
  find("nothing").hidden = false;
}

async function take(files) {
  if (!files.length) return;
  clear();
  find("on-hub").hidden = true;
  if (files.length > 1) {
    fail("one_scan", "One scan at a time: choose or drop a single file.");
    return;
  }
  if (!window.isSecureContext) {
    fail("not_secure", "Browsers compute with a checked model only on pages that came over TLS: open the hub's https address.");
    return;
  }
  if (worker === null) start();
  [chosen] = files;
  Object.assign(find("on-hub"), { hidden: false, open: false });
  const mine = asked;
  const bytes = await files[0].arrayBuffer().catch(() => null);
  if (bytes === null) fail("file_unreadable", "The file cannot be read: was it moved, or is it a folder?");
  else if (mine === asked) worker.postMessage({ id: mine, bytes, url: new URL(place.dataset.model, window.location).href }, [bytes]);
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
    if (mine === asked) show(result);
  } catch (error) {
    const isKnown = error instanceof ScanError;
    if (mine === asked) fail(isKnown ? error.code : "hub_failed", isKnown ? error.message : `The hub was not reached: ${error.message}`);
  }
  find("send").disabled = false;
}

if (place) {
  find("send-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  const drop = find("drop");
  find("scan").addEventListener("change", (event) => take([...event.target.files]));
  find("show-map").addEventListener("change", (event) => {
    find("overlay").hidden = !event.target.checked;
  });
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
    take([...event.dataTransfer.files]);
  });
}
