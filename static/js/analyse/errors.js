// A scan that cannot be read, or a browser that cannot read it: a stable code and a sentence for the page.

export class ScanError extends Error {
  constructor(code, detail) {
    super(detail);
    this.name = "ScanError";
    this.code = code;
  }
}

export const unreadable = () => new ScanError("image_unreadable", "The image is damaged or cut short.");
