// Reads an image file as conversion does (ffcv_convert/images.py): upright, its transparent parts on white, in RGB.
// PNG is decoded here, to conversion's bytes; JPEG and BMP by the browser.

import { decodePng } from "./png.js";

const MOST_PIXELS = 25_000_000; // limits of conversion
const MOST_SIDE_PX = 16_384;
const MOST_BYTES = 2 ** 27;
const ORIENTATION = 0x0112; // EXIF's tag
const FORMATS = { PNG: [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a], JPEG: [0xff, 0xd8, 0xff], BMP: [0x42, 0x4d] };

/** Return {pixels: uint8 RGB, height, width} of a File. Throws an Error whose message says what is wrong. */
export async function readImage(file) {
  if (!file.size) throw new Error("is empty. Restore it, or replace it");
  if (file.size > MOST_BYTES) throw new Error(`has ${file.size} bytes, which is no image of a person. Choose another one`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const format = formatOf(bytes);
  if (!format) throw new Error("is no PNG, JPEG or BMP. Convert it to 8-bit PNG");
  if (format !== "PNG") return decodedByBrowser(bytes, format);
  const { width, height, rgba, exif } = await decodePng(bytes, checkSize);
  return upright({ pixels: onWhite(rgba), width, height }, exif ? orientationOf(exif) : 1);
}

function formatOf(bytes) {
  return Object.keys(FORMATS).find((name) => FORMATS[name].every((byte, at) => bytes[at] === byte));
}

function checkSize(width, height) {
  if (width * height > MOST_PIXELS || Math.max(width, height) > MOST_SIDE_PX) {
    throw new Error(`has ${height} x ${width} pixels, which is no image of a person. Choose another one`);
  }
}

/** Let the browser decode, and turn the image as EXIF says. Not its colour profile, which conversion ignores too. */
async function decodedByBrowser(bytes, format) {
  let bitmap;
  try {
    if (format === "JPEG" && !isComplete(bytes)) throw new Error("cut off");
    bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new Error(`cannot be decoded (damaged ${format}). Restore it, or replace it`);
  }
  const { width, height } = bitmap;
  checkSize(width, height);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  return { pixels: onWhite(rgba), width, height };
}

/** Whether a JPEG's end follows its last scan: a browser would show the first half of a file, conversion refuses it. */
function isComplete(bytes) {
  const last = (marker) => {
    for (let at = bytes.length - 2; at >= 0; at--) if (bytes[at] === 0xff && bytes[at + 1] === marker) return at;
    return -1;
  };
  return last(0xd9) > last(0xda);
}

/** Return RGB on white, by Pillow's alpha_composite: integers with 7 more bits, and a division by 255 that rounds. */
export function onWhite(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    const alpha = rgba[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      const sum = (rgba[from + channel] * alpha + 255 * (255 - alpha) + 128) << 7;
      rgb[to + channel] = ((sum >> 8) + sum) >> 15;
    }
  }
  return rgb;
}

/** Return the orientation (1 to 8) that the bytes of EXIF name; 1 where they name none or are damaged. */
export function orientationOf(exif) {
  const begin = String.fromCharCode(...exif.subarray(0, 4)) === "Exif" ? 6 : 0;
  const view = new DataView(exif.buffer, exif.byteOffset + begin, Math.max(exif.byteLength - begin, 0));
  try {
    const little = view.getUint16(0) === 0x4949;
    const table = view.getUint32(4, little);
    for (let entry = 0; entry < view.getUint16(table, little); entry++) {
      const at = table + 2 + 12 * entry;
      if (view.getUint16(at, little) === ORIENTATION) return view.getUint16(at + 8, little);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // a table that ends early: viewers show such an image as it is stored
  }
  return 1;
}

/** Return the image turned as EXIF's orientation says. */
export function upright({ pixels, width, height }, orientation) {
  const [right, low] = [width - 1, height - 1];
  const source = {
    2: (x, y) => [right - x, y], 3: (x, y) => [right - x, low - y], 4: (x, y) => [x, low - y], 5: (x, y) => [y, x],
    6: (x, y) => [y, low - x], 7: (x, y) => [right - y, low - x], 8: (x, y) => [right - y, x],
  }[orientation];
  if (!source) return { pixels, width, height };
  const turned = orientation > 4 ? { width: height, height: width } : { width, height };
  const out = new Uint8Array(pixels.length);
  for (let y = 0; y < turned.height; y++) {
    for (let x = 0; x < turned.width; x++) {
      const [fromX, fromY] = source(x, y);
      const from = 3 * (fromY * width + fromX);
      out.set(pixels.subarray(from, from + 3), 3 * (y * turned.width + x));
    }
  }
  return { ...turned, pixels: out };
}
