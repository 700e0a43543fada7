// Upright, as a camera's or scanner's note in the file says (EXIF tag 0x0112, else XMP), by Pillow's exif_transpose.

const ORIENTATION = 0x0112;

function fromExif(data) {
  if (!data || data.length < 8) return 0;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const little = data[0] === 0x49;
  const start = view.getUint32(4, little);
  if (start + 2 > data.length) return 0;
  const count = view.getUint16(start, little);
  for (let entry = 0; entry < count; entry += 1) {
    const at = start + 2 + 12 * entry;
    if (at + 12 > data.length) return 0;
    if (view.getUint16(at, little) === ORIENTATION) return view.getUint16(at + 8, little);
  }
  return 0;
}

function fromXmp(data) {
  const text = data ? new TextDecoder("latin1").decode(data) : "";
  return Number(/tiff:Orientation(?:="|>)([0-9])/.exec(text)?.[1] || 0);
}

// Where a pixel of the upright picture comes from in one of width w and height h.
const SOURCES = {
  2: (x, y, w) => [w - 1 - x, y],
  3: (x, y, w, h) => [w - 1 - x, h - 1 - y],
  4: (x, y, w, h) => [x, h - 1 - y],
  5: (x, y) => [y, x],
  6: (x, y, w, h) => [y, h - 1 - x],
  7: (x, y, w, h) => [w - 1 - y, h - 1 - x],
  8: (x, y, w) => [w - 1 - y, x],
};

export function upright({ width, height, rgb }, { exif, xmp }) {
  const orientation = fromExif(exif) || fromXmp(xmp);
  const source = SOURCES[orientation];
  if (!source) return { width, height, rgb };
  const [w, h] = orientation > 4 ? [height, width] : [width, height];
  const turned = new Uint8Array(rgb.length);
  for (let y = 0; y < h; y += 1) {
    for (let x = 0; x < w; x += 1) {
      const [fromX, fromY] = source(x, y, width, height);
      const at = (fromY * width + fromX) * 3;
      turned.set(rgb.subarray(at, at + 3), (y * w + x) * 3);
    }
  }
  return { width: w, height: h, rgb: turned };
}
