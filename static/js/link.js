// A one-time link carries its code behind the #, which no server sees: move it into the form, and go on.

const field = document.querySelector("input[name=token]");
const code = window.location.hash.slice(1);
if (code) {
  window.history.replaceState(null, "", window.location.pathname);
  field.value = code;
  field.form.requestSubmit();
}
