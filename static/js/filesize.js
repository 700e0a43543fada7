// A file that is too large is told before it is sent: the hub would cut the connection in the middle of it.

for (const field of document.querySelectorAll("input[type=file][data-most-bytes]")) {
  field.addEventListener("change", () => {
    const most = Number(field.dataset.mostBytes);
    const isLarge = [...field.files].some((file) => file.size > most);
    field.setCustomValidity(isLarge ? `The file is larger than ${most / 2 ** 20} MB.` : "");
    field.reportValidity();
  });
}
