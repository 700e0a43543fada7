// Before a session ends by itself, the page says so and offers to stay; what is typed stays where it is. Only the hub
// knows when that is: somebody may have gone on in another tab.

const warning = document.querySelector("[data-session-warning]");
const words = warning.querySelector("[data-session-text]");
const stay = warning.querySelector("[data-session-stay]");
const WARN_SECONDS = 120;
const RETRY_SECONDS = 10;
let ends = Date.now() + Number(document.body.dataset.sessionLeft) * 1000;
let lasts = true;
let timer = null;

function left() {
  return Math.max(0, Math.round((ends - Date.now()) / 1000));
}

function inWords(seconds) {
  const [number, unit] = seconds > 90 ? [Math.round(seconds / 60), "minute"] : [seconds, "second"];
  return `${number} ${unit}${number === 1 ? "" : "s"}`;
}

function show() {
  const why = lasts ? "" : " A session has a longest time: finish what you have begun, and sign in anew.";
  const text = `You are signed out in ${inWords(left())}.${why}`;
  // Said aloud when it appears; the seconds after that are for the eyes.
  warning.setAttribute("aria-live", warning.hidden ? "assertive" : "off");
  if (words.textContent !== text) words.textContent = text;
  stay.hidden = !lasts;
  warning.hidden = false;
}

function look(seconds) {
  clearTimeout(timer);
  timer = setTimeout(step, Math.max(0, seconds) * 1000);
}

function token() {
  return document.querySelector("input[name=csrfmiddlewaretoken]").value;
}

async function ask(method) {
  const headers = method === "POST" ? { "X-CSRFToken": token() } : { "X-Background": "1" };
  const answer = await fetch(warning.dataset.address, { method, headers });
  if (answer.status === 401) window.location.reload();
  if (!answer.ok) throw new Error(`the hub answered ${answer.status}`);
  const told = await answer.json();
  ends = Date.now() + told.seconds * 1000;
  lasts = told.last;
}

async function step() {
  // Somebody may go on in another tab while this one warns.
  if (warning.hidden || left() % RETRY_SECONDS === 0) {
    try {
      await ask("GET");
    } catch {
      look(RETRY_SECONDS);
      return;
    }
  }
  if (left() > WARN_SECONDS) {
    warning.hidden = true;
    look(left() - WARN_SECONDS);
    return;
  }
  show();
  look(1);
}

stay.addEventListener("click", async () => {
  try {
    await ask("POST");
  } catch {
    words.textContent = "The hub does not answer. Try again.";
    return;
  }
  step();
});

// A machine that slept has missed its timers.
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && left() <= WARN_SECONDS && step());
look(left() - WARN_SECONDS);
