// From a scan's file to the pixels that the model sees: what hospintel_core/imaging.py does, in the page.

import * as dicom from "./dicom.js";
import { ScanError } from "./errors.js";
import * as jpeg from "./jpeg.js";
import { resize } from "./lanczos.js";
import { upright } from "./orientation.js";
import * as png from "./png.js";

const MOST_PIXELS = 25_000_000;
const MOST_BYTES = 64 * 1024 * 1024;
const READERS = [
  { magic: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a], reader: png },
  { magic: [0xff, 0xd8, 0xff], reader: jpeg },
];

// Returns the upright picture { width, height, rgb }. The type is told by the content, not by the name.
export async function readScan(bytes) {
  if (!bytes.length) throw new ScanError("image_empty", "The file is empty.");
  if (bytes.length > MOST_BYTES) throw new ScanError("image_too_large", "The file has more than 64 MiB.");
  if (dicom.isDicom(bytes)) return dicom.decode(dicom.parse(bytes, MOST_PIXELS));
  const known = READERS.find(({ magic }) => magic.every((byte, at) => bytes[at] === byte));
  if (!known) throw new ScanError("image_format", "The file is neither a PNG, a JPEG nor a DICOM image.");
  const image = known.reader.parse(bytes, MOST_PIXELS);
  return upright(await known.reader.decode(image), image);
}

// ITU-R 601-2, in whole numbers as Pillow does it.
function toGrey(rgb) {
  const grey = new Uint8Array(rgb.length / 3);
  for (let at = 0; at < grey.length; at += 1) {
    grey[at] = (rgb[at * 3] * 19595 + rgb[at * 3 + 1] * 38470 + rgb[at * 3 + 2] * 7471 + 0x8000) >> 16;
  }
  return grey;
}

// Returns size * size * channels values, 0 to 255.
export function toInput({ width, height, rgb }, { size, channels }) {
  return resize(channels === 1 ? toGrey(rgb) : rgb, width, height, channels, size);
}
