// The page is complete when it arrives. A socket says that something happened, then the fragment is fetched anew;
// without a socket the event feed is polled. One visible line says which of the two it is.

const page = document.getElementById("dashboard");
const line = document.querySelector("[data-live]");
const POLL_MS = 3000;
const QUIET_MS = 250;
let seq = Number(page.dataset.seq);
let refreshTimer = null;
let pollTimer = null;
let retry = 0;

function say(text) {
  if (line.textContent !== text) line.textContent = text;
}

async function refresh() {
  refreshTimer = null;
  const answer = await fetch("/", { headers: { Accept: "text/html", "X-Fragment": "dashboard" } });
  if (answer.redirected) {
    window.location.assign("/");
    return;
  }
  if (answer.ok) page.innerHTML = await answer.text();
}

function changed(events) {
  const fresh = events.filter((event) => event.seq > seq);
  if (!fresh.length) return;
  seq = fresh[fresh.length - 1].seq;
  if (refreshTimer === null) refreshTimer = setTimeout(refresh, QUIET_MS);
}

async function poll() {
  try {
    const answer = await fetch(`/api/v1/events?after=${seq}`);
    if (answer.ok) changed((await answer.json()).events);
  } catch {
    say("The hub does not answer. Trying again.");
  }
}

function connect() {
  const scheme = window.location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${window.location.host}/ws/events/`);
  socket.addEventListener("open", () => {
    retry = 0;
    clearInterval(pollTimer);
    pollTimer = null;
    say("Live.");
    // What happened while the socket was away.
    poll();
  });
  socket.addEventListener("message", (message) => changed(JSON.parse(message.data).events));
  socket.addEventListener("close", () => {
    say("No live connection. The page asks every few seconds instead.");
    if (pollTimer === null) pollTimer = setInterval(poll, POLL_MS);
    retry += 1;
    setTimeout(connect, Math.min(30000, 500 * 2 ** retry) * (0.5 + Math.random() / 2));
  });
}

connect();
