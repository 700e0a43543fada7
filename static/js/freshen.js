// Bring what is on the page in line with new HTML, and leave alone what is the same: focus, selection, what is typed, what
// is opened and how far a table is scrolled all stay. Rows have ids, so a new row is put in between and none is renamed.

function isSame(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && (old.id || "") === (fresh.id || "");
}

function isAhead(old, fresh) {
  for (let node = old; node; node = node.nextSibling) {
    if (isSame(node, fresh)) return true;
  }
  return false;
}

function freshenAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    // The reader opens and closes details; the hub does not.
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

function freshenNode(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  // What a reader has begun there is not the hub's to change.
  if (old.hasAttribute("data-kept")) return;
  freshenAttributes(old, fresh);
  // The text of a time is told here, second by second; the hub's is only for browsers without scripts.
  if (old.nodeName !== "TIME") freshenChildren(old, fresh);
}

function freshenChildren(parent, fresh) {
  let old = parent.firstChild;
  for (const node of [...fresh.childNodes]) {
    if (old && !isSame(old, node) && node.id && isAhead(old, node)) {
      while (!isSame(old, node)) {
        const gone = old;
        old = old.nextSibling;
        gone.remove();
      }
    }
    if (old && isSame(old, node)) {
      freshenNode(old, node);
      old = old.nextSibling;
    } else {
      parent.insertBefore(node, old);
    }
  }
  while (old) {
    const gone = old;
    old = old.nextSibling;
    gone.remove();
  }
}

export function freshen(part, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  freshenChildren(part, template.content);
}
