// A page is complete when it arrives. A socket says that something happened, then the page's living part is fetched
// anew; without a socket the event feed is polled. One visible line says which of the two it is.

import { tellTimes } from "./portal.js";

const part = document.querySelector("[data-living]");
const line = document.querySelector("[data-live]");
const announced = document.querySelector("[data-announce]");
const POLL_MS = 3000;
const QUIET_MS = 250;
const BUSY_MS = 1000;
let seq = Number(part?.dataset.living || 0);
let refreshTimer = null;
let pollTimer = null;
let retry = 0;

function say(state, text) {
  line.dataset.live = state;
  const words = line.querySelector("[data-live-text]");
  if (words.textContent !== text) words.textContent = text;
}

function isBeingUsed() {
  const active = document.activeElement;
  return part.contains(active) && active.matches("input, select, textarea") || document.querySelector("dialog[open]");
}

// What the reader opened or stands on stays so; the new nodes have the ids of the old ones.
function swap(html) {
  const open = [...part.querySelectorAll("details[id][open]")].map((details) => details.id);
  const scrolled = [...part.querySelectorAll("[id].scroll")].map((box) => [box.id, box.scrollLeft]);
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  part.innerHTML = html;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, left] of scrolled) document.getElementById(id)?.scrollTo(left, 0);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  const headline = part.querySelector("h1")?.textContent || "";
  if (announced.textContent !== headline) announced.textContent = headline;
  tellTimes();
}

function refreshSoon(wait) {
  if (refreshTimer === null) refreshTimer = setTimeout(refresh, wait);
}

async function refresh() {
  refreshTimer = null;
  if (isBeingUsed()) {
    refreshSoon(BUSY_MS);
    return;
  }
  try {
    const answer = await fetch(window.location.href, { headers: { Accept: "text/html", "X-Fragment": "live" } });
    if (answer.redirected) window.location.reload();
    else if (answer.ok) swap(await answer.text());
  } catch {
    refreshSoon(POLL_MS);
  }
}

function changed(events) {
  const fresh = events.filter((event) => event.seq > seq);
  if (!fresh.length) return;
  seq = fresh[fresh.length - 1].seq;
  refreshSoon(QUIET_MS);
}

async function poll() {
  try {
    const answer = await fetch(`/api/v1/events?after=${seq}`);
    if (answer.ok) changed((await answer.json()).events);
    else if (answer.status === 403) window.location.reload();
  } catch {
    say("away", "The hub does not answer");
  }
}

function pollLater() {
  pollTimer = setTimeout(async () => {
    await poll();
    if (pollTimer !== null) pollLater();
  }, POLL_MS * (0.75 + Math.random() / 2));
}

function connect() {
  const scheme = window.location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${window.location.host}/ws/events/`);
  socket.addEventListener("open", () => {
    retry = 0;
    clearTimeout(pollTimer);
    pollTimer = null;
    say("on", "Live");
    // What happened while the socket was away.
    poll();
  });
  socket.addEventListener("message", (message) => changed(JSON.parse(message.data).events || []));
  socket.addEventListener("close", (event) => {
    // Signed out elsewhere: what is on the screen is no longer this reader's to see.
    if (event.code === 4401) {
      window.location.reload();
      return;
    }
    say("off", "Asking every few seconds");
    if (pollTimer === null) pollLater();
    retry += 1;
    setTimeout(connect, Math.min(30000, 500 * 2 ** retry) * (0.5 + Math.random() / 2));
  });
}

if (part) connect();
