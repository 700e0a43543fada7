// ReDoc's own mark is a picture from its maker's server. A hub's pages ask nobody else for anything: ReDoc is told that
// the picture did not come, and leaves it out.

const { set } = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
const { setAttribute } = Element.prototype;
const isOurs = (address) => new URL(address, window.location).origin === window.location.origin;

Object.defineProperty(HTMLImageElement.prototype, "src", {
  set(address) {
    if (isOurs(address)) set.call(this, address);
    else setTimeout(() => this.dispatchEvent(new Event("error")));
  },
});
HTMLImageElement.prototype.setAttribute = function (name, value) {
  if (name !== "src" || isOurs(value)) setAttribute.call(this, name, value);
};

const place = document.getElementById("description");

Redoc.init(
  place.dataset.schema,
  {
    // Its search is a worker made of text, which would need an exception in the page's policy; the browser's finds all.
    disableSearch: true,
    hideDownloadButton: true,
    expandResponses: "200,201,202",
    theme: { typography: { fontFamily: "system-ui, sans-serif", headings: { fontFamily: "system-ui, sans-serif" } } },
  },
  place,
);
