// The sentences around a result. `model` is what apps/analyse/queries.py says of a version; `domain` is null where there
// is no check (`no_domain` of the model says why), else { unlike }: whether the scan is unlike the scans of the hub's
// validation set.

// No model is as sure as a hundred per cent would read.
export function percent(share) {
  if (share >= 0.9995) return "over 99.9\u00a0%";
  return share < 0.0005 ? "under 0.1\u00a0%" : `${(100 * share).toFixed(1)}\u00a0%`;
}

export const named = (name) => (name === "notumor" ? "No tumor" : name[0].toUpperCase() + name.slice(1));

function readBy({ model, milliseconds, byHub, isOffline }, when) {
  const where = byHub ? "on the hub, where nothing of the scan was kept" : "in this browser";
  const text = `version ${model.version} (${model.digest.slice(0, 12)}), ${where}, in ${(milliseconds / 1000).toFixed(2)} s, ${when}.`;
  return { head: "Read by", text: isOffline ? `${text} The hub could not be asked whether it is still the current one.` : text };
}

function calibration({ temperature }) {
  if (temperature) {
    return { head: "Calibrated.", text: "How sure the model says it is was set right on the hub's validation set, on average; for one scan it may still be off." };
  }
  const text = "The hub has no validation set for this version: take the probabilities as an order of the classes, not as odds.";
  return { head: "Not calibrated.", text };
}

const NO_CHECK = {
  no_set: "The hub has no validation set to compare the scan with.",
  few_scans: "The hub's validation set has fewer than 50 scans of a class: a check made from so few would tell which scans are in it.",
  prepared_before: "The hub's validation set was prepared by an older version of the hub, whose checks told too much of its scans. An administrator brings the set anew.",
};

function domainCheck({ domain, model }) {
  if (!domain) return { head: "No domain check.", text: NO_CHECK[model.no_domain] ?? NO_CHECK.no_set };
  if (!domain.unlike) return { head: "Domain checked.", text: "The scan looks like those of the hub's validation set." };
  return { head: "Outside the domain.", text: "The scan does not look like those of the hub's validation set.", isWarning: true };
}

// Fewer bits, fewer megabytes: what that costs was measured when the model was written for this page.
function coarse({ base }) {
  if (!base?.agreement) return [];
  const { scans, same, largest } = base.agreement;
  const text =
    `${base.bits} bits a weight (${(base.size / 1e6).toFixed(0)} MB). On ${scans} synthetic scans this version found the same ` +
    `class as with the exact base in ${same}, its probabilities at most ${percent(largest)} apart.`;
  return [{ head: "A smaller base:", text }];
}

// What stands under the probabilities, as { head, text, isWarning }.
export function notes(result, when) {
  return [
    readBy(result, when),
    calibration(result.model),
    domainCheck(result),
    ...coarse(result.model),
    { head: "Not a medical device.", text: "For research, not for diagnosis." },
  ];
}

// The result in one sentence, for those who listen.
export function announced({ probabilities, model, domain }) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  const doubt = domain?.unlike ? " The scan does not look like the scans that the model knows." : "";
  return `Result: ${named(model.classes[best])}, ${percent(probabilities[best])}.${doubt}`;
}
