// JPEG to RGB by the browser's own decoder, from a copy of the file without colour profiles, orientation or comments:
// what is left is read the same way everywhere, but for a level or so between decoders.

import { ScanError, unreadable } from "./errors.js";

const SOS = 0xda;
const MOST_PASSES = 100;
const KEPT = new Set([0xe0, 0xee]);

const isFrame = (marker) => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
const isLeftOut = (marker) => (marker >= 0xe0 && marker <= 0xef && !KEPT.has(marker)) || marker === 0xfe;

function startsWith(data, text) {
  return [...text].every((letter, at) => data[at] === letter.charCodeAt(0));
}

// The segments before the first scan: { marker, whole, data }, and where the scan begins.
function segments(bytes) {
  const found = [];
  let at = 2;
  while (at + 4 <= bytes.length) {
    if (bytes[at] !== 0xff) throw unreadable();
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    if (marker === SOS) return { found, scan: at };
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    if (length < 2 || at + 2 + length > bytes.length) throw unreadable();
    found.push({ marker, whole: bytes.subarray(at, at + 2 + length), data: bytes.subarray(at + 4, at + 2 + length) });
    at += 2 + length;
  }
  throw unreadable();
}

function isWhole(bytes, scan) {
  for (let at = bytes.length - 2; at > scan; at -= 1) if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return true;
  return false;
}

// A pass over 25 million pixels may take 40 bytes of a JPEG, and a second; encoders make about ten.
function checkPasses(bytes) {
  let passes = 0;
  for (let at = 0; at + 1 < bytes.length; at += 1) if (bytes[at] === 0xff && bytes[at + 1] === SOS) passes += 1;
  if (passes > MOST_PASSES) throw new ScanError("image_unreadable", `The JPEG is drawn in more than ${MOST_PASSES} passes.`);
}

// What is in the file. Throws before a pixel is decoded.
export function parse(bytes, mostPixels) {
  const { found, scan } = segments(bytes);
  const frame = found.find(({ marker }) => isFrame(marker))?.data;
  if (!frame || frame.length < 6 || frame[0] !== 8) throw unreadable();
  const [height, width] = [(frame[1] << 8) | frame[2], (frame[3] << 8) | frame[4]];
  if (!width || !height || !isWhole(bytes, scan)) throw unreadable();
  if (width * height > mostPixels) {
    throw new ScanError("image_too_large", `The image has ${width} x ${height} pixels; at most 25 million are read.`);
  }
  if (frame[5] === 4) throw new ScanError("image_colours", "The image is made of printing colours (CMYK), which every program shows differently.");
  checkPasses(bytes);
  const exif = found.find(({ marker, data }) => marker === 0xe1 && startsWith(data, "Exif\0\0"))?.data.subarray(6);
  const xmp = found.find(({ marker, data }) => marker === 0xe1 && startsWith(data, "http://ns.adobe.com/xap/1.0/\0"))?.data;
  const kept = found.filter(({ marker }) => !isLeftOut(marker)).map(({ whole }) => whole);
  return { width, height, exif, xmp, parts: [bytes.subarray(0, 2), ...kept, bytes.subarray(scan)] };
}

// Some browsers change what a page reads from a canvas, so that it tells nothing of the machine.
function checkCanvas(context) {
  const sent = new ImageData(Uint8ClampedArray.from({ length: 256 }, (_, at) => (at % 4 === 3 ? 255 : (at * 37) % 256)), 8, 8);
  context.putImageData(sent, 0, 0);
  const got = context.getImageData(0, 0, 8, 8).data;
  if (sent.data.some((value, at) => value !== got[at])) {
    throw new ScanError("canvas_changed", "This browser changes the pixels that a page reads from an image.");
  }
}

// Returns { width, height, rgb }, as the file lies; `image` comes from parse().
export async function decode(image) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob(image.parts, { type: "image/jpeg" }), {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw unreadable();
  }
  const { width, height } = bitmap;
  if (width !== image.width || height !== image.height) throw unreadable();
  const canvas = new OffscreenCanvas(Math.max(width, 8), Math.max(height, 8));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  checkCanvas(context);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(width * height * 3);
  for (let at = 0; at < width * height; at += 1) {
    rgb[at * 3] = rgba[at * 4];
    rgb[at * 3 + 1] = rgba[at * 4 + 1];
    rgb[at * 3 + 2] = rgba[at * 4 + 2];
  }
  return { width, height, rgb };
}
