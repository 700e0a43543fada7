// The result on the page: text first, then the picture.

import { drawMap, drawScan, whereStrongest } from "./picture.js";
import { announced, named, notes, percent } from "./words.js";

const find = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function bar(share) {
  const make = (name, attributes) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const svg = make("svg", { class: "share", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(make("rect", { class: "rest", width: 100, height: 8 }), make("rect", { width: 100 * share, height: 8 }));
  return svg;
}

function row(name, share, isBest) {
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
  line.classList.toggle("best", isBest);
  return line;
}

function note({ head, text, isWarning }) {
  const line = document.createElement("li");
  const strong = document.createElement("strong");
  strong.textContent = head;
  line.append(strong, ` ${text}`);
  if (isWarning) line.className = "doubt";
  return line;
}

function showPicture({ maps, side, scan, model }, best) {
  const name = named(model.classes[best]).toLowerCase();
  find("map-class").textContent = name;
  find("map-text").textContent = whereStrongest(maps[best], side, name);
  drawScan(find("picture"), scan);
  find("picture").setAttribute("aria-label", `The scan, ${scan.width} x ${scan.height} pixels. ${find("map-text").textContent}`);
  drawMap(find("overlay"), maps[best], side);
  showMap();
}

// The map and its legend, or the scan alone.
export function showMap() {
  const isShown = find("show-map").checked;
  find("overlay").hidden = !isShown;
  find("legend").hidden = !isShown;
}

// `file` is the scan's name on this machine: it goes no further than the page and its print.
export function show(result, file) {
  const { probabilities, model } = result;
  const best = probabilities.indexOf(Math.max(...probabilities));
  find("nothing").hidden = true;
  find("result").hidden = false;
  find("unlike").hidden = !result.domain?.unlike;
  const strong = document.createElement("strong");
  strong.className = "figure-big";
  strong.textContent = named(model.classes[best]);
  find("said").replaceChildren(strong, ` ${percent(probabilities[best])}, the most probable of ${probabilities.length} classes`);
  find("probabilities").tBodies[0].replaceChildren(
    ...model.classes.map((name, at) => row(name, probabilities[at], at === best)),
  );
  const when = new Date().toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  find("notes").replaceChildren(...notes(result, when).map(note));
  find("file").textContent = file;
  showPicture(result, best);
  find("announce").textContent = announced(result);
}

export function clearResult() {
  find("result").hidden = true;
  find("nothing").hidden = false;
  find("announce").textContent = "";
}
