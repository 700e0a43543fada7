// PNG to RGB, as Pillow reads it: no colour profile, no gamma; 16 bits to 8, transparency laid on black.
// A canvas would multiply colours by transparency and may convert them, so this is our own reader.

import { ScanError, unreadable } from "./errors.js";

const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };
// Adam7: first column, first row, step across, step down.
const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const TWELVE_BITS = 4096;

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function* chunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) throw unreadable();
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const isCritical = name[0] === name[0].toUpperCase();
    if (isCritical && crc(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length)) throw unreadable();
    yield { name, data: bytes.subarray(at + 8, at + 8 + length) };
    if (name === "IEND") return;
    at += 12 + length;
  }
  throw unreadable();
}

function header(data) {
  if (data.length !== 13) throw unreadable();
  const view = new DataView(data.buffer, data.byteOffset, 13);
  const [depth, colour, compression, filter, interlace] = data.subarray(8);
  const found = { width: view.getUint32(0), height: view.getUint32(4), depth, colour, interlace };
  const isKnown = DEPTHS[colour]?.includes(depth) && compression === 0 && filter === 0 && interlace < 2;
  if (!found.width || !found.height || !isKnown) throw unreadable();
  return found;
}

function isAnimated(data) {
  const frames = data.length >= 4 ? new DataView(data.buffer, data.byteOffset).getUint32(0) : 0;
  return frames > 1 && frames <= 0x80000000;
}

// What is in the file, its pixels still packed. Throws before anything large is made of it.
export function parse(bytes, mostPixels) {
  let found = null;
  const packed = [];
  const extra = {};
  for (const { name, data } of chunks(bytes)) {
    if (name === "IHDR") {
      found = header(data);
      if (found.width * found.height > mostPixels) {
        const size = `${found.width} x ${found.height}`;
        throw new ScanError("image_too_large", `The image has ${size} pixels; at most 25 million are read.`);
      }
    } else if (!found) throw unreadable();
    else if (name === "IDAT") packed.push(data);
    else if (name === "acTL" && !packed.length && isAnimated(data)) {
      throw new ScanError("image_frames", "The file holds several pictures: an animation, not a scan.");
    }
    else if (name === "PLTE" || name === "tRNS" || name === "eXIf") extra[name] = data;
  }
  if (!packed.length || (found.colour === 3 && !extra.PLTE)) throw unreadable();
  return { ...found, packed, palette: extra.PLTE, transparency: extra.tRNS, exif: extra.eXIf };
}

function layout({ width, height, depth, colour, interlace }) {
  const bits = CHANNELS[colour] * depth;
  const all = interlace ? PASSES : [[0, 0, 1, 1]];
  return all
    .map(([x, y, across, down]) => {
      const columns = Math.ceil((width - x) / across);
      return { x, y, across, down, columns, rows: Math.ceil((height - y) / down), line: Math.ceil((columns * bits) / 8) };
    })
    .filter(({ columns, rows }) => columns > 0 && rows > 0);
}

async function inflate(packed, size) {
  const result = new Uint8Array(size);
  const reader = new Blob(packed).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  let filled = 0;
  try {
    // No more than the header promised is ever unpacked.
    while (filled < size) {
      const { done, value } = await reader.read();
      if (done) break;
      const part = value.subarray(0, size - filled);
      result.set(part, filled);
      filled += part.length;
    }
  } catch {
    // What follows the last pixel is nobody's business; what is missing is told below.
  }
  reader.cancel().catch(() => {});
  if (filled < size) throw unreadable();
  return result;
}

function paeth(left, up, corner) {
  const guess = left + up - corner;
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

// Undo the filters of one pass in place; each row begins with the number of its filter.
function unfilter(data, start, { rows, line }, step) {
  for (let row = 0; row < rows; row += 1) {
    const at = start + row * (line + 1) + 1;
    const kind = data[at - 1];
    if (kind > 4) throw unreadable();
    for (let index = 0; kind && index < line; index += 1) {
      const left = index >= step ? data[at + index - step] : 0;
      const up = row ? data[at + index - line - 1] : 0;
      const corner = row && index >= step ? data[at + index - step - line - 1] : 0;
      if (kind === 1) data[at + index] += left;
      else if (kind === 2) data[at + index] += up;
      else if (kind === 3) data[at + index] += (left + up) >> 1;
      else data[at + index] += paeth(left, up, corner);
    }
  }
}

// All samples in the order of the picture, as the file has them.
function samples(image, data) {
  const { width, height, depth, colour } = image;
  const channels = CHANNELS[colour];
  const values = new (depth === 16 ? Uint16Array : Uint8Array)(width * height * channels);
  const step = Math.max((channels * depth) >> 3, 1);
  const mask = (1 << depth) - 1;
  let start = 0;
  for (const part of layout(image)) {
    unfilter(data, start, part, step);
    for (let row = 0; row < part.rows; row += 1) {
      const at = start + row * (part.line + 1) + 1;
      for (let index = 0; index < part.columns * channels; index += 1) {
        const column = Math.floor(index / channels);
        const place = ((part.y + row * part.down) * width + part.x + column * part.across) * channels + (index % channels);
        if (depth === 8) values[place] = data[at + index];
        else if (depth === 16) values[place] = (data[at + 2 * index] << 8) | data[at + 2 * index + 1];
        else values[place] = (data[at + ((index * depth) >> 3)] >> (8 - depth - ((index * depth) & 7))) & mask;
      }
    }
    start += part.rows * (part.line + 1);
  }
  return values;
}

// Scanners write 12 bits into 16: then 12 bits are the full range.
function from16Grey(values) {
  const shift = values.reduce((most, value) => Math.max(most, value), 0) < TWELVE_BITS ? 4 : 8;
  return Uint8Array.from(values, (value) => value >> shift);
}

// Pillow's alpha_composite over opaque black.
function onBlack(value, alpha) {
  const sum = value * alpha * 128 + 128 * 128;
  return ((sum >> 8) + sum) >> 15;
}

function readAlpha({ colour, depth, transparency }, pixel) {
  if (colour === 4 || colour === 6) return pixel[pixel.length - 1];
  if (!transparency) return 255;
  if (colour === 3) return transparency[pixel[0]] ?? 255;
  if (depth === 16 && colour === 0) return 255;
  const key = (at) => (transparency[2 * at] << 8) | transparency[2 * at + 1];
  return pixel.every((value, at) => value === key(at)) ? 0 : 255;
}

function toRgb(image, values) {
  const { width, height, depth, colour, palette } = image;
  const channels = CHANNELS[colour];
  const rgb = new Uint8Array(width * height * 3);
  const isGrey = colour === 0 || colour === 4;
  let eight = values;
  if (depth === 16) eight = colour === 0 ? from16Grey(values) : Uint8Array.from(values, (value) => value >> 8);
  else if (depth < 8 && colour === 0) eight = values.map((value) => (value * 255) / ((1 << depth) - 1));
  const isOpaque = channels !== 2 && channels !== 4 && !image.transparency;
  for (let at = 0; at < width * height; at += 1) {
    const pixel = eight.subarray(at * channels, (at + 1) * channels);
    const alpha = isOpaque ? 255 : readAlpha(image, pixel);
    for (let channel = 0; channel < 3; channel += 1) {
      const value = colour === 3 ? palette[pixel[0] * 3 + channel] : pixel[isGrey ? 0 : channel];
      rgb[at * 3 + channel] = alpha === 255 ? value : onBlack(value, alpha);
    }
  }
  return rgb;
}

// Returns { width, height, rgb }, as the file lies; `image` comes from parse().
export async function decode(image) {
  const size = layout(image).reduce((sum, { rows, line }) => sum + rows * (line + 1), 0);
  const values = samples(image, await inflate(image.packed, size));
  return { width: image.width, height: image.height, rgb: toRgb(image, values) };
}
