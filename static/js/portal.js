// What every page has: the theme's switch, times that grow old, deadlines that come closer, questions before deeds.

const root = document.documentElement;
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
}

const themeButton = document.querySelector("[data-theme-switch]");
if (themeButton) {
  const tell = () => themeButton.setAttribute("aria-pressed", String(isDark()));
  themeButton.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    root.dataset.theme = theme;
    window.localStorage.setItem("theme", theme);
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
}

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function length(seconds) {
  const [size, unit] = UNITS.find(([size]) => seconds >= size) || [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

// Whoever's clock is wrong still sees the right ages and deadlines: the page says what time it was at the hub.
const came = performance.timeOrigin + (performance.getEntriesByType("navigation")[0]?.responseStart || 0);
const ahead = Number(document.body.dataset.now || 0) * 1000 - came;
const skew = document.body.dataset.now && Math.abs(ahead) > 2000 ? ahead : 0;

export function tellTimes() {
  const now = Date.now() + skew;
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const age = (now - Date.parse(time.dateTime)) / 1000;
    const text = age < 5 ? "just now" : `${length(age)} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of document.querySelectorAll("time[data-until]")) {
    const left = (Date.parse(time.dateTime) - now) / 1000;
    const text = left > 0 ? `in ${length(left)}` : "now";
    if (time.textContent !== text) time.textContent = text;
  }
}

tellTimes();
setInterval(tellTimes, 1000);

// What was wrong is where one goes on.
document.querySelector("main [aria-invalid=true]")?.focus();

document.querySelector(".tabs [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

// A menu opens without scripts too; here it closes on Escape, and when one goes on elsewhere.
const menu = document.querySelector("[data-menu]");
if (menu) {
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

// A dialog asks; without scripts the form is simply sent.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.confirm) return;
  if (form.dataset.confirmed) {
    // Once: whoever sends it again is asked again.
    delete form.dataset.confirmed;
    return;
  }
  event.preventDefault();
  const { action } = form;
  const dialog = document.getElementById("confirm");
  dialog.querySelector("p").textContent = form.dataset.confirm;
  const yes = dialog.querySelector("[value=yes]");
  yes.hidden = false;
  yes.textContent = event.submitter?.textContent || "Continue";
  yes.classList.toggle("danger", Boolean(event.submitter?.classList.contains("danger")));
  // A form that has no room for a reason has it asked for here.
  const why = dialog.querySelector("#confirm-reason");
  why.closest(".field").hidden = !form.querySelector("[data-reason]");
  why.value = "";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    // The page changes under an open dialog: what was asked about may be gone, and another in its place.
    if (!form.isConnected || form.action !== action) {
      dialog.querySelector("p").textContent = "What this was about has changed meanwhile. Nothing was done: look again.";
      yes.hidden = true;
      dialog.showModal();
      return;
    }
    const reason = form.querySelector("[data-reason]");
    if (reason) reason.value = why.value;
    form.dataset.confirmed = "yes";
    form.requestSubmit();
  }, { once: true });
  dialog.returnValue = "no";
  dialog.showModal();
});

// Enter would press the dialog's first button, which is the one that does nothing.
document.getElementById("confirm-reason")?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  event.target.form.querySelector("[value=yes]").click();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select the text and copy it";
  }
});
