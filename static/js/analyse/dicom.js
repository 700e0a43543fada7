// The few elements of a DICOM file that make its picture, as hospintel_core/dicom_elements.py takes them: everything
// else is stepped over by its length. Pictures that are not compressed are read here, the others by the hub.

import { Grey } from "./dicom_grey.js";
import { ScanError } from "./errors.js";

const START = 132;
const MOST_ELEMENTS = 100_000;
const MOST_DEPTH = 16;
const MOST_VALUE = 1024;
const MOST_TABLE = 2 * 65536;
const UNDEFINED = 0xffffffff;
const [ITEM, ITEM_END, SEQUENCE_END] = [0xfffee000, 0xfffee00d, 0xfffee0dd];
const IMPLICIT = "1.2.840.10008.1.2";
const EXPLICIT = "1.2.840.10008.1.2.1";
const COMPRESSED = /^1\.2\.840\.10008\.1\.2\.(4\.(50|57|70|80|81|90|91)|5)$/;
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const SYNTAX = 0x00020010;
const PIXELS = 0x7fe00010;
const TABLES = new Set([0x00283000, 0x00283010]);
const ALLOWED = {
  0x00280002: ["US"], 0x00280004: ["CS"], 0x00280008: ["IS"], 0x00280010: ["US"], 0x00280011: ["US"],
  0x00280100: ["US"], 0x00280101: ["US"], 0x00280102: ["US"], 0x00280103: ["US"],
  0x00280120: ["US", "SS"], 0x00280121: ["US", "SS"], 0x00280301: ["CS"],
  0x00281050: ["DS"], 0x00281051: ["DS"], 0x00281052: ["DS"], 0x00281053: ["DS"], 0x00281056: ["CS"],
  0x00283000: ["SQ"], 0x00283010: ["SQ"], [PIXELS]: ["OB", "OW"], [SYNTAX]: ["UI"],
};
const OF_A_TABLE = { 0x00283002: ["US", "SS"], 0x00283006: ["US", "OW"] };

const damaged = () => new ScanError("dicom_damaged", "The file is not built as DICOM says.");

class Walk {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = START;
    this.count = 0;
    this.values = {};
    this.tables = {};
  }

  take(size) {
    if (this.at + size > this.bytes.length) throw new ScanError("dicom_damaged", "The file is cut short.");
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  number(size) {
    this.take(size);
    return size === 2 ? this.view.getUint16(this.at - 2, true) : this.view.getUint32(this.at - 4, true);
  }

  header(isExplicit) {
    this.count += 1;
    if (this.count > MOST_ELEMENTS) throw damaged();
    const group = this.number(2);
    const tag = group * 0x10000 + this.number(2);
    if (group === 0xfffe || !isExplicit) return { tag, kind: "", length: this.number(4), start: this.at };
    const kind = String.fromCharCode(...this.take(2));
    if (!/^[A-Z]{2}$/.test(kind)) throw damaged();
    if (LONG.has(kind)) this.take(2);
    return { tag, kind, length: this.number(LONG.has(kind) ? 4 : 2), start: this.at };
  }

  *elements(end, isExplicit) {
    while (this.at < end) {
      const element = this.header(isExplicit);
      if (element.tag === ITEM_END) return;
      if (element.length !== UNDEFINED && this.at + element.length > end) throw damaged();
      yield element;
    }
  }

  skip(element, isExplicit, depth) {
    if (element.length !== UNDEFINED) {
      this.take(element.length);
      return;
    }
    if (depth >= MOST_DEPTH) throw damaged();
    const inner = isExplicit && element.kind !== "UN";
    for (let item = this.item(); item; item = this.item()) {
      if (item.length !== UNDEFINED) this.take(item.length);
      else for (const below of this.elements(this.bytes.length, inner)) this.skip(below, inner, depth + 1);
    }
  }

  item() {
    const item = this.header(false);
    if (item.tag === SEQUENCE_END) return null;
    if (item.tag !== ITEM) throw damaged();
    return item;
  }

  value({ kind, length, tag }, kinds, most, found) {
    if (tag in found || (kind && !kinds.includes(kind)) || length > most) throw damaged();
    return this.take(length);
  }

  // The descriptor and the data of the first table; empty where the sequence is.
  table(sequence) {
    const isOpen = sequence.length === UNDEFINED;
    const end = isOpen ? this.bytes.length : this.at + sequence.length;
    const found = {};
    for (let number = 0; this.at < end; number += 1) {
      const item = this.header(false);
      if (item.tag === SEQUENCE_END && isOpen) return found;
      if (item.tag !== ITEM) throw damaged();
      const inside = item.length === UNDEFINED ? end : this.at + item.length;
      if (inside > end) throw damaged();
      for (const element of this.elements(inside, this.isExplicit)) {
        const kinds = OF_A_TABLE[element.tag];
        if (number === 0 && kinds) found[element.tag] = this.value(element, kinds, MOST_TABLE, found);
        else this.skip(element, this.isExplicit, 1);
      }
    }
    if (isOpen) throw damaged();
    return found;
  }

  syntax() {
    const found = {};
    while (this.at + 2 <= this.bytes.length && this.view.getUint16(this.at, true) === 2) {
      const element = this.header(true);
      if (element.tag === SYNTAX) found[SYNTAX] = this.value(element, ALLOWED[SYNTAX], 64, found);
      else this.skip(element, true, 0);
    }
    return found[SYNTAX] ? String.fromCharCode(...found[SYNTAX]).replace(/[\0 ]+$/, "") : "";
  }

  read() {
    const syntax = this.syntax();
    if (COMPRESSED.test(syntax)) {
      throw new ScanError("dicom_compressed", "The picture in this DICOM file is compressed: the hub can read it, if you send it there.");
    }
    if (syntax !== IMPLICIT && syntax !== EXPLICIT) {
      throw new ScanError("dicom_syntax", "The DICOM file is encoded in a way that is not read here.");
    }
    this.isExplicit = syntax === EXPLICIT;
    for (const element of this.elements(this.bytes.length, this.isExplicit)) {
      const kinds = ALLOWED[element.tag];
      if (!kinds) this.skip(element, this.isExplicit, 0);
      else if (element.tag === PIXELS) return this.value(element, kinds, UNDEFINED - 1, this.values);
      else if (!TABLES.has(element.tag)) this.values[element.tag] = this.value(element, kinds, MOST_VALUE, this.values);
      else if (element.tag in this.tables || (element.kind && element.kind !== "SQ")) throw damaged();
      else this.tables[element.tag] = this.table(element);
    }
    throw new ScanError("dicom_no_pixels", "The DICOM file holds no picture.");
  }
}

export function isDicom(bytes) {
  return String.fromCharCode(...bytes.subarray(128, START)) === "DICM";
}

// Returns what decode() takes. Throws before anything large is made of it.
export function parse(bytes, mostPixels) {
  const walk = new Walk(bytes);
  const raw = walk.read();
  return new Grey(walk.values, walk.tables, mostPixels).with(raw);
}

// Returns { width, height, rgb }.
export function decode(picture) {
  return picture.toRgb();
}
