// The files of a drop or of a field, those in folders too: [{ file, folder }], `folder` a path such as "mine/glioma".

// What operating systems put beside people's files.
const isClutter = (name) => name.startsWith(".") || /^(__macosx|thumbs\.db|desktop\.ini)$/i.test(name);

function readSome(reader) {
  return new Promise((resolve, reject) => reader.readEntries(resolve, reject));
}

function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

async function walk(entry, folder, found) {
  if (isClutter(entry.name)) return;
  if (entry.isFile) {
    found.push({ file: await fileOf(entry), folder });
    return;
  }
  const reader = entry.createReader();
  const inside = folder ? `${folder}/${entry.name}` : entry.name;
  // A reader gives a hundred at a time, and none at the end.
  for (let some = await readSome(reader); some.length; some = await readSome(reader)) {
    for (const one of some) await walk(one, inside, found);
  }
}

export async function filesOfDrop(transfer) {
  // All at once, before anything is waited for: the browser forgets what was dropped.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() || item.getAsFile());
  const found = [];
  for (const entry of entries) {
    if (entry instanceof File) found.push({ file: entry, folder: "" });
    else if (entry) await walk(entry, "", found);
  }
  return found;
}

export function filesOfField(field) {
  return [...field.files]
    .map((file) => ({ file, folder: file.webkitRelativePath.split("/").slice(0, -1).join("/") }))
    .filter(({ file, folder }) => ![...folder.split("/"), file.name].some(isClutter));
}
