// A page is complete when it arrives. A socket says that something happened, then the page's living part is fetched
// anew; how far work is comes with the message itself. Without a socket the event feed is polled, and what is at work is
// fetched as often. One visible line says which of the two it is.

import { freshen } from "./freshen.js";
import { tellTimes } from "./portal.js";
import { tellProgress } from "./progress.js";

const part = document.querySelector("[data-living]");
const line = document.querySelector("[data-live]");
const announced = document.querySelector("[data-announce]");
const POLL_MS = 3000;
const QUIET_MS = 250;
// An agent that falls silent makes no event: look anyway, now and then.
const IDLE_MS = 30000;
let seq = Number(part?.dataset.living || 0);
let refreshTimer = null;
let pollTimer = null;
let retry = 0;
let isOpen = false;
let asked = 0;
let answered = 0;

function say(state, text) {
  line.dataset.live = state;
  const words = line.querySelector("[data-live-text]");
  if (words.textContent !== text) words.textContent = text;
}

function show(html) {
  freshen(part, html);
  // Without the time that runs in it, which would be said at every change of the page.
  const headline = part.querySelector("h1")?.firstChild?.textContent.trim() || "";
  if (announced.textContent !== headline) announced.textContent = headline;
  tellTimes();
}

function refreshSoon(wait) {
  if (refreshTimer === null) refreshTimer = setTimeout(refresh, wait);
}

async function refresh() {
  refreshTimer = null;
  asked += 1;
  const mine = asked;
  try {
    const answer = await fetch(window.location.href, { headers: { Accept: "text/html", "X-Fragment": "live" } });
    // Signed out, or no longer this reader's to see: the whole page says so.
    if (answer.redirected || answer.status === 403 || answer.status === 404) window.location.reload();
    if (!answer.ok) throw new Error(`the hub answered ${answer.status}`);
    const html = await answer.text();
    // A slow answer to an older question is not put over a newer answer.
    if (mine < answered) return;
    answered = mine;
    show(html);
  } catch {
    refreshSoon(POLL_MS);
  }
}

function changed(events, spread = 0) {
  const fresh = events.filter((event) => event.seq > seq);
  if (!fresh.length) return;
  seq = fresh[fresh.length - 1].seq;
  // Where very many pages are open, the hub says within how many seconds they should ask: by chance, not all at once.
  refreshSoon(QUIET_MS + Math.random() * spread * 1000);
}

// How far work is makes no event.
function refreshIfWorking() {
  if (part.querySelector("[data-working]")) refreshSoon(QUIET_MS);
}

function heard(message) {
  changed(message.events || [], message.spread);
  if (message.progress) tellProgress(part, message.progress);
}

async function poll() {
  try {
    const answer = await fetch(`/api/v1/events?after=${seq}`, { headers: { "X-Background": "1" } });
    if (answer.status === 401 || answer.status === 403) window.location.reload();
    if (!answer.ok) throw new Error(`the hub answered ${answer.status}`);
    changed((await answer.json()).events);
    if (!isOpen) {
      say("off", "Reconnecting");
      refreshIfWorking();
    }
  } catch {
    if (!isOpen) say("away", "The hub does not answer");
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
    isOpen = true;
    clearTimeout(pollTimer);
    pollTimer = null;
    say("on", "Live");
    // What happened while the socket was away.
    poll();
    refreshIfWorking();
  });
  socket.addEventListener("message", (message) => heard(JSON.parse(message.data)));
  socket.addEventListener("close", (event) => {
    // Signed out elsewhere, or with other rights: what is on the screen may no longer be this reader's to see.
    if (event.code === 4401 || event.code === 4403) {
      window.location.reload();
      return;
    }
    // The first try of a page that was just loaded may fail by chance: it goes on connecting. Later tries that fail say
    // nothing: asking does, and knows whether the hub answers at all.
    if (isOpen || (retry > 0 && !line.dataset.live)) say("off", "Reconnecting");
    isOpen = false;
    if (pollTimer === null) pollLater();
    retry += 1;
    setTimeout(connect, Math.min(30000, 500 * 2 ** retry) * (0.5 + Math.random() / 2));
  });
}

if (part) {
  connect();
  setInterval(() => document.visibilityState === "visible" && refreshSoon(0), IDLE_MS * (0.75 + Math.random() / 2));
}
