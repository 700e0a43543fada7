// A version that is published while the page is open: its reader is told, and nothing is read anew unasked.

import { ask } from "./ask.js";

const LOOK_MS = 60_000;

async function current(url) {
  const answer = await ask(url, { headers: { Accept: "application/json", "X-Background": "1" } });
  return answer.ok ? (await answer.json()).version : null;
}

// Calls `tell` with the number of the current version now and then, and whenever the reader comes back to the page.
export function watchVersion(url, tell) {
  const look = async () => {
    if (document.hidden) return;
    // Offline, signed out, or being written: the next scan says which, and until then nothing has changed for the reader.
    const version = await current(url).catch(() => null);
    if (version !== null) tell(version);
  };
  setInterval(look, LOOK_MS);
  window.addEventListener("focus", look);
  document.addEventListener("visibilitychange", look);
}
