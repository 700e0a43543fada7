// From stored DICOM samples to grey levels as on a viewing station: what hospintel_core/dicom_display.py does.
// A sample has at most 16 bits, so that every step is one table with an entry for each value a sample can have.

import { ScanError } from "./errors.js";

const TAG = {
  samples: 0x00280002, photometric: 0x00280004, frames: 0x00280008, rows: 0x00280010, columns: 0x00280011,
  allocated: 0x00280100, stored: 0x00280101, high: 0x00280102, signed: 0x00280103,
  padding: 0x00280120, paddingLimit: 0x00280121, burnedIn: 0x00280301,
  center: 0x00281050, width: 0x00281051, intercept: 0x00281052, slope: 0x00281053, function: 0x00281056,
  modality: 0x00283000, descriptor: 0x00283002, data: 0x00283006, voi: 0x00283010,
};
const DECIMAL = /^ *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})? *\0?$/;

const unusable = () => new ScanError("dicom_display", "What the file says about its grey levels cannot be applied.");
const text = (raw) => String.fromCharCode(...(raw || [])).replace(/^[ \0]+|[ \0]+$/g, "");
const view = (raw) => new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
const clip = (share) => Math.min(Math.max(share, 0), 1);

function decimals(raw) {
  const all = text(raw);
  if (!all) return [];
  const parts = all.split("\\");
  const numbers = parts.map((part) => Number(part.replace(/[ \0]/g, "")));
  if (!parts.every((part) => DECIMAL.test(part)) || !numbers.every(Number.isFinite)) throw unusable();
  return numbers;
}

export class Grey {
  constructor(values, tables, mostPixels) {
    this.values = values;
    this.tables = tables;
    this.checkKind();
    for (const name of ["rows", "columns", "allocated", "stored", "high", "signed"]) this[name] = this.number(TAG[name]);
    if (!this.rows || !this.columns) throw new ScanError("dicom_pixels", "The picture has no pixels.");
    if (this.rows * this.columns > mostPixels) {
      throw new ScanError("image_too_large", `The picture has ${this.columns} x ${this.rows} pixels; at most 25 million are read.`);
    }
    const isUsual = this.stored > 1 && this.stored <= this.allocated && this.high === this.stored - 1 && this.signed < 2;
    if (![8, 16].includes(this.allocated) || !isUsual) {
      throw new ScanError("dicom_pixels", "The samples are not whole numbers of 2 to 16 bits in the usual place.");
    }
  }

  checkKind() {
    const frames = decimals(this.values[TAG.frames]);
    if (frames.length > 1 || (frames.length === 1 && frames[0] !== 1)) {
      throw new ScanError("dicom_frames", "The file holds several pictures. Export each slice as a file of its own.");
    }
    this.photometric = text(this.values[TAG.photometric]);
    if (!/^MONOCHROME[12]$/.test(this.photometric) || this.number(TAG.samples) !== 1) {
      throw new ScanError("dicom_colour", "The picture is not grey: a screenshot or a colour map, not a scan.");
    }
    if (text(this.values[TAG.burnedIn]).toUpperCase() === "YES") {
      throw new ScanError("dicom_burned_in", "The file says that text about the patient is drawn into the picture.");
    }
  }

  number(tag) {
    const raw = this.values[tag];
    if (raw?.length !== 2) throw new ScanError("dicom_pixels", "The file does not say how its picture is built.");
    return view(raw).getUint16(0, true);
  }

  with(raw) {
    const size = (this.rows * this.columns * this.allocated) / 8;
    if (raw.length !== size && raw.length !== size + (size % 2)) {
      throw new ScanError("dicom_length", "The picture has more or fewer bytes than its size needs.");
    }
    const mask = 2 ** this.stored - 1;
    const data = view(raw);
    this.patterns = Uint16Array.from({ length: this.rows * this.columns }, (_, at) =>
      (this.allocated === 8 ? data.getUint8(at) : data.getUint16(2 * at, true)) & mask);
    return this;
  }

  toRgb() {
    const levels = this.levels();
    const rgb = new Uint8Array(this.patterns.length * 3);
    this.patterns.forEach((pattern, at) => rgb.fill(levels[pattern], 3 * at, 3 * at + 3));
    return { width: this.columns, height: this.rows, rgb };
  }

  // The grey level of each bit pattern.
  levels() {
    const size = 2 ** this.stored;
    const stored = Float64Array.from({ length: size }, (_, at) => (this.signed && at >= size / 2 ? at - size : at));
    const values = this.modality(stored);
    const isPadding = this.padding(stored);
    let shares = this.window(values);
    if (!shares && this.stored === 8 && !this.signed && values === stored) shares = stored.map((value) => value / 255);
    if (!shares) shares = this.spread(values, isPadding);
    const isInverted = this.photometric === "MONOCHROME1";
    return Uint8Array.from(shares, (share, at) => {
      if (isPadding[at]) return 0;
      const level = Math.floor(share * 255 + 0.5);
      return isInverted ? 255 - level : level;
    });
  }

  one(tag, otherwise) {
    const numbers = decimals(this.values[tag]);
    if (numbers.length > 1) throw unusable();
    return numbers[0] ?? otherwise;
  }

  modality(stored) {
    const table = this.tables[TAG.modality];
    if (table && Object.keys(table).length) return this.lookUp(table, stored).found;
    const slope = this.one(TAG.slope, 1);
    const intercept = this.one(TAG.intercept, 0);
    if (slope === 0) throw unusable();
    if (slope === 1 && intercept === 0) return stored;
    const values = stored.map((value) => value * slope + intercept);
    if (!values.every(Number.isFinite)) throw unusable();
    return values;
  }

  // Shares of full brightness by the table or the first window for display; null where there is neither.
  window(values) {
    const table = this.tables[TAG.voi];
    if (table && Object.keys(table).length) {
      const { found, most } = this.lookUp(table, values);
      return found.map((entry) => clip(entry / most));
    }
    const [center] = decimals(this.values[TAG.center]);
    const [width] = decimals(this.values[TAG.width]);
    if (center === undefined || width === undefined) return null;
    const kind = text(this.values[TAG.function]) || "LINEAR";
    const middle = center - 0.5;
    if (kind === "LINEAR" && width > 1) return values.map((value) => clip((value - middle) / (width - 1) + 0.5));
    if (kind === "LINEAR" && width === 1) return values.map((value) => Number(value - middle > 0));
    if (kind === "LINEAR_EXACT" && width > 0) return values.map((value) => clip((value - center) / width + 0.5));
    if (kind === "SIGMOID" && width > 0) return values.map((value) => 1 / (1 + Math.exp((-4 * (value - center)) / width)));
    throw unusable();
  }

  lookUp(table, values) {
    const [descriptor, data] = [table[TAG.descriptor], table[TAG.data]];
    if (descriptor?.length !== 6 || !data) throw unusable();
    const about = view(descriptor);
    const count = about.getUint16(0, true) || 65536;
    const isSigned = values.some((value) => value < 0);
    const first = isSigned ? about.getInt16(2, true) : about.getUint16(2, true);
    const bits = about.getUint16(4, true);
    const isWide = data.length === 2 * count;
    const isNarrow = bits === 8 && data.length === count + (count % 2);
    if (bits < 8 || bits > 16 || !(isWide || isNarrow)) throw unusable();
    const entry = view(data);
    const entries = Float64Array.from({ length: count }, (_, at) => (isWide ? entry.getUint16(2 * at, true) : entry.getUint8(at)));
    if (entries.some((value) => value >= 2 ** bits)) throw unusable();
    const found = values.map((value) => entries[Math.min(Math.max(Math.floor(value) - first, 0), count - 1)]);
    return { found, most: 2 ** bits - 1 };
  }

  spread(values, isPadding) {
    const used = new Uint8Array(values.length);
    for (const pattern of this.patterns) used[pattern] = 1;
    let [low, high] = [Infinity, -Infinity];
    values.forEach((value, at) => {
      if (!used[at] || isPadding[at]) return;
      low = Math.min(low, value);
      high = Math.max(high, value);
    });
    return values.map((value) => (high > low ? clip((value - low) / (high - low)) : 0));
  }

  // Patterns that stand for "no picture here": always black.
  padding(stored) {
    const read = (raw) => (this.signed ? view(raw).getInt16(0, true) : view(raw).getUint16(0, true));
    const ends = [TAG.padding, TAG.paddingLimit].map((tag) => this.values[tag]).filter((raw) => raw?.length === 2).map(read);
    if (this.values[TAG.padding]?.length !== 2) return new Uint8Array(stored.length);
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    return Uint8Array.from(stored, (value) => Number(value >= low && value <= high));
  }
}
