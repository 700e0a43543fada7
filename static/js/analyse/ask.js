// What the page asks of the hub, with a sentence for when there is no answer.

import { ScanError } from "./errors.js";

// As fetch. Throws hub_unreached without a network, signed_out where the hub sends whoever asks to sign in.
export async function ask(url, options = {}) {
  const answer = await fetch(url, options).catch(() => {
    throw new ScanError("hub_unreached", "The hub cannot be reached. Is this machine still on the network?");
  });
  if (answer.redirected) throw new ScanError("signed_out", "You are signed out. Load the page again and sign in.");
  return answer;
}

// What a refusal said, as { code, detail }; `otherwise` where it said nothing that this page knows.
export async function refused(answer, code, otherwise) {
  const told = await answer.json().catch(() => ({}));
  return new ScanError(told.code || code, told.detail || otherwise);
}
