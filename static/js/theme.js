// Before the page is drawn: the theme that this person chose here. Without a choice the system's holds.
const chosen = window.localStorage.getItem("theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
