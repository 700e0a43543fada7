// How far a job is, as the socket tells it, put where the page has it.

function tell(id, text) {
  const place = document.getElementById(id);
  if (place && place.textContent !== text) place.textContent = text;
}

function cell(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (kind === "th") made.scope = "row";
  else made.className = "number";
  return made;
}

function addRow(rows, { epoch, loss, accuracy }) {
  if (document.getElementById(`epoch-${epoch}`)) return;
  const row = document.createElement("tr");
  row.id = `epoch-${epoch}`;
  row.append(cell("th", epoch), cell("td", loss.toFixed(4)), cell("td", `${(accuracy * 100).toFixed(1)}\u00a0%`));
  rows.append(row);
}

// `told` is what apps/finetune/queries.py says of a job. A page of another job, or of one that has ended, stays as it is.
export function tellProgress(part, told) {
  const head = part.querySelector("[data-working]");
  if (head?.dataset.working !== told.of) return;
  tell("job-headline", told.headline);
  tell("job-done", told.done);
  const bar = document.getElementById("job-progress");
  bar.max = told.max;
  bar.value = told.value;
  const rows = document.getElementById("epochs-rows");
  if (rows) told.epochs.forEach((one) => addRow(rows, one));
}
