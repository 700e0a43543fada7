// The theme as a choice of three; the switch in the bar knows two.

const root = document.documentElement;
const choices = document.querySelector("[data-theme-choice]");

function tell() {
  const chosen = window.localStorage.getItem("theme") || "";
  for (const input of choices.querySelectorAll("input")) input.checked = input.value === chosen;
}

choices.addEventListener("change", (event) => {
  if (event.target.value) {
    window.localStorage.setItem("theme", event.target.value);
    root.dataset.theme = event.target.value;
  } else {
    window.localStorage.removeItem("theme");
    delete root.dataset.theme;
  }
});
new MutationObserver(tell).observe(root, { attributeFilter: ["data-theme"] });
tell();
