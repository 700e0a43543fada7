// Brings many scans to a job: files and folders that are chosen or dropped, a few in each request, and what became of
// each. Without this script the form sends what its field has.

import { filesOfDrop, filesOfField } from "./dropped.js";

// Of one request: far under the hub's 33 MiB, so that a slow line shows how far it is.
const MOST_FILES = 16;
const MOST_BYTES = 8 * 2 ** 20;

const find = (id) => document.getElementById(id);
const form = find("bring-form");
// By where they come from.
const sources = { files: [], folder: [], drop: [] };
let isSending = false;
let isStopped = false;

function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

const everything = () => Object.values(sources).flat();

function show() {
  const chosen = everything();
  const folders = new Map();
  for (const { folder } of chosen) folders.set(folder, (folders.get(folder) || 0) + 1);
  const parts = [...folders].map(([folder, number]) => `${number} in ${folder || "no folder"}`);
  find("chosen").textContent = chosen.length ? `${count(chosen.length, "file")} chosen: ${parts.slice(0, 12).join(", ")}${parts.length > 12 ? " …" : ""}.` : "";
  find("forget").hidden = !chosen.length || isSending;
}

function choose(source, files) {
  if (isSending) return;
  sources[source] = files;
  forgetResult();
  show();
}

function forget() {
  for (const source of Object.keys(sources)) sources[source] = [];
  find("files").value = "";
  find("folder").value = "";
  show();
}

function forgetResult() {
  find("added").textContent = "";
  find("left-out").hidden = true;
  find("left-out-list").replaceChildren();
  find("files").removeAttribute("aria-invalid");
  find("files").setAttribute("aria-describedby", "files-help");
}

// Files of one folder in a row make one request, as long as it is not too large.
function batches(files) {
  const made = [];
  let bytes = 0;
  for (const one of files) {
    const last = made.at(-1);
    if (last && last[0].folder === one.folder && last.length < MOST_FILES && bytes + one.file.size <= MOST_BYTES) {
      last.push(one);
      bytes += one.file.size;
    } else {
      made.push([one]);
      bytes = one.file.size;
    }
  }
  return made;
}

function leaveOut(name, detail, code) {
  const line = document.createElement("li");
  const mark = document.createElement("span");
  mark.className = "mono";
  mark.textContent = code;
  line.append(`${name}: ${detail} `, mark);
  find("left-out-list").append(line);
}

function nameOf(batch, place) {
  // "2", or "2, entry 5" of a zip file.
  const [number, ...inside] = place.split(",");
  const { file, folder } = batch[Number(number) - 1];
  return [folder ? `${folder}/${file.name}` : file.name, ...inside].join(",");
}

async function post(batch) {
  const body = new FormData();
  body.append("class_name", find("class-name").value);
  body.append("folder", batch[0].folder);
  for (const { file } of batch) body.append("file", file);
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  const answer = await fetch(form.dataset.send, { method: "POST", headers: { "X-CSRFToken": token }, body });
  const told = await answer.json().catch(() => ({}));
  // None of them could be taken: each says why.
  if (answer.status === 422 && told.refused) return { scans: [], copies: [], refused: told.refused };
  if (!answer.ok) throw new Error(told.detail || `The hub answered ${answer.status}.`);
  return told;
}

function tellSoFar(done, total) {
  find("sent-bar").max = total;
  find("sent-bar").value = done;
  find("sent-so-far").textContent = `${done} of ${count(total, "file")} sent`;
}

function tellEnd({ taken, copies, unnamed, refused, rest }, problem) {
  const parts = [`${count(taken, "scan")} taken`];
  if (copies) parts.push(`${copies} the same as a scan that is here`);
  if (unnamed) parts.push(`${unnamed} without a class: say which below`);
  if (rest) parts.push(`${count(rest, "file")} not sent`);
  find("added").textContent = `${parts.join(", ")}.`;
  if (!refused && !problem) return;
  find("left-out-head").textContent = problem || `${count(refused, "file was", "files were")} left out:`;
  find("left-out").hidden = false;
  find("files").setAttribute("aria-invalid", "true");
  find("files").setAttribute("aria-describedby", "files-help left-out");
}

function add(result, batch, told) {
  result.taken += told.scans.length;
  result.copies += told.copies.length;
  result.unnamed += told.scans.filter((scan) => !scan.class_name).length;
  result.refused += told.refused.length;
  for (const { place, detail, code } of told.refused) leaveOut(nameOf(batch, place), detail, code);
}

function setSending(now) {
  isSending = now;
  isStopped = false;
  find("send").disabled = now;
  find("stop").hidden = !now;
  find("sending").hidden = !now;
}

async function send() {
  const most = Number(form.dataset.mostBytes);
  const result = { taken: 0, copies: 0, unnamed: 0, refused: 0, rest: 0 };
  const files = everything().filter(({ file, folder }) => {
    if (file.size <= most) return true;
    leaveOut(folder ? `${folder}/${file.name}` : file.name, `A file has at most ${most / 2 ** 20} MB.`, "image_too_large");
    result.refused += 1;
    return false;
  });
  let done = 0;
  let problem = "";
  try {
    for (const batch of batches(files)) {
      tellSoFar(done, files.length);
      if (isStopped) break;
      add(result, batch, await post(batch));
      done += batch.length;
    }
  } catch (error) {
    problem = error instanceof TypeError ? "The hub does not answer. Send the files again: what is there already counts once." : error.message;
  }
  result.rest = files.length - done;
  return { result, problem };
}

async function sendAll(event) {
  event.preventDefault();
  if (isSending) return;
  forgetResult();
  if (!everything().length) {
    tellEnd({ taken: 0 }, "Choose scans first, or drop them here.");
    find("files").focus();
    return;
  }
  setSending(true);
  show();
  const { result, problem } = await send();
  const hadFocus = document.activeElement === find("stop");
  setSending(false);
  forget();
  tellEnd(result, problem);
  if (hadFocus) find("send").focus();
}

function welcomeDrops() {
  const drop = find("drop");
  const isOurs = () => form.isConnected && !isSending;
  for (const kind of ["dragover", "dragenter"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", isOurs());
    });
  }
  for (const kind of ["dragleave", "drop", "dragend"]) document.addEventListener(kind, () => drop.classList.remove("over"));
  // Anywhere on the page: a file dropped beside the field would otherwise be opened by the browser instead of the page.
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    if (isOurs()) choose("drop", sources.drop.concat(await filesOfDrop(event.dataTransfer)));
  });
}

if (form) {
  // What is chosen may come from a drop, while the field is empty.
  form.noValidate = true;
  find("choose-folder").hidden = false;
  find("limits").textContent = `At most ${form.dataset.mostBytes / 2 ** 20}\u00a0MB each.`;
  for (const field of [find("files"), find("folder")]) {
    const look = () => choose(field.id, filesOfField(field));
    field.addEventListener("change", look);
    // Chosen before this script was here, or kept by the browser from before.
    if (field.files.length) look();
  }
  find("forget").addEventListener("click", () => {
    forget();
    find("files").focus();
  });
  find("stop").addEventListener("click", () => {
    isStopped = true;
  });
  form.addEventListener("submit", sendAll);
  welcomeDrops();
}
