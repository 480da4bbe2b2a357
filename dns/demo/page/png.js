// Decodes 8-bit PNG files to the bytes that conversion gets. A browser's own decoder would apply colour profiles and
// gamma, and lose bits of transparent pixels; conversion does neither.

const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // by colour type: grey, RGB, palette, grey and alpha, RGBA
const DEPTHS = { 0: [1, 2, 4, 8], 2: [8], 3: [1, 2, 4, 8], 4: [8], 6: [8] };
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/**
 * Return {width, height, rgba, exif}: 8-bit RGBA, not premultiplied; exif: the bytes of its chunk eXIf, or undefined.
 * check(width, height) is called before memory is taken, and may throw. Throws an Error that says what is wrong.
 */
export async function decodePng(bytes, check) {
  const { header, palette, transparency, exif, data } = chunksOf(bytes);
  const [width, height] = [header.getUint32(0), header.getUint32(4)];
  const [depth, type, method, filters, interlace] = [8, 9, 10, 11, 12].map((at) => header.getUint8(at));
  check(width, height);
  if (depth === 16) throw new Error("has more than 8 bits per channel. Convert it to 8-bit PNG");
  if (!DEPTHS[type]?.includes(depth) || method || filters || interlace > 1 || !width || !height) throw damaged("header");
  if (type === 3 && !palette) throw damaged("no palette");
  const image = { width, height, depth, channels: CHANNELS[type] };
  const coded = await inflated(data, interlace ? ADAM7.reduce((sum, pass) => sum + passBytes(image, pass), 0)
    : passBytes(image, [0, 0, 1, 1]));
  const samples = new Uint8Array(width * height * image.channels);
  let at = 0;
  for (const pass of interlace ? ADAM7 : [[0, 0, 1, 1]]) at = unfilter(coded, at, image, pass, samples);
  return { width, height, exif, rgba: toRgba(samples, type, depth, palette, transparency) };
}

function damaged(what) {
  return new Error(`cannot be decoded (damaged PNG: ${what}). Restore it, or replace it`);
}

function chunksOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { data: [] };
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (at + 12 + length > bytes.length) throw damaged("cut off");
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (crcOf(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length)) throw damaged(`chunk ${name}`);
    if (name === "IHDR" && length === 13) found.header = new DataView(content.buffer, content.byteOffset, 13);
    if (name === "PLTE") found.palette = content;
    if (name === "tRNS") found.transparency = content;
    if (name === "eXIf") found.exif = content;
    if (name === "IDAT") found.data.push(content);
    if (name === "IEND") break;
    at += 12 + length;
  }
  if (!found.header || !found.data.length) throw damaged("cut off");
  return found;
}

function crcOf(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** Return the first `wanted` bytes of the zlib stream. No more are read, so that a small file cannot fill the memory. */
async function inflated(parts, wanted) {
  const out = new Uint8Array(wanted);
  const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  let at = 0;
  try {
    while (at < wanted) {
      const { done, value } = await reader.read();
      if (done) break;
      out.set(value.subarray(0, wanted - at), at);
      at += value.length;
    }
  } catch {
    throw damaged("its compressed data");
  }
  reader.cancel().catch(() => {});
  if (at < wanted) throw damaged("cut off");
  return out;
}

function passSize({ width, height }, [left, top, stepX, stepY]) {
  return [Math.ceil((width - left) / stepX), Math.ceil((height - top) / stepY)].map((size) => Math.max(size, 0));
}

function passBytes(image, pass) {
  const [columns, rows] = passSize(image, pass);
  return columns ? rows * (1 + Math.ceil((columns * image.channels * image.depth) / 8)) : 0;
}

/** Undo the filters of the rows from byte `at` on, and put their samples in place. Returns where the next pass begins. */
function unfilter(coded, at, image, pass, samples) {
  const { width, depth, channels } = image;
  const [left, top, stepX, stepY] = pass;
  const [columns, rows] = passSize(image, pass);
  if (!columns || !rows) return at;
  const length = Math.ceil((columns * channels * depth) / 8);
  const back = Math.max(1, (channels * depth) >> 3); // bytes to the pixel on the left
  let above = new Uint8Array(length);
  for (let y = 0; y < rows; y++) {
    const filter = coded[at];
    const row = coded.subarray(at + 1, at + 1 + length);
    if (filter > 4) throw damaged("a filter that does not exist");
    for (let x = 0; x < length; x++) {
      const [a, b, c] = [x < back ? 0 : row[x - back], above[x], x < back ? 0 : above[x - back]];
      row[x] += [0, a, b, (a + b) >> 1, filter === 4 ? paeth(a, b, c) : 0][filter];
    }
    for (let x = 0; x < columns * channels; x++) {
      const bit = x * depth;
      const sample = (row[bit >> 3] >> (8 - depth - (bit & 7))) & (2 ** depth - 1);
      const column = left + Math.floor(x / channels) * stepX;
      samples[((top + y * stepY) * width + column) * channels + (x % channels)] = sample;
    }
    above = row;
    at += 1 + length;
  }
  return at;
}

function paeth(a, b, c) {
  const [byA, byB, byC] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  return byA <= byB && byA <= byC ? a : byB <= byC ? b : c;
}

function toRgba(samples, type, depth, palette, transparency) {
  const channels = CHANNELS[type];
  const pixels = samples.length / channels;
  const rgba = new Uint8Array(4 * pixels).fill(255);
  if (type === 3) {
    for (let at = 0; at < pixels; at++) {
      const entry = samples[at];
      if (3 * entry + 2 >= palette.length) throw damaged("a colour outside the palette");
      rgba.set(palette.subarray(3 * entry, 3 * entry + 3), 4 * at);
      if (entry < (transparency?.length ?? 0)) rgba[4 * at + 3] = transparency[entry];
    }
    return rgba;
  }
  const scale = type === 0 ? 255 / (2 ** depth - 1) : 1;
  const key = transparency && type !== 4 && type !== 6 ? keyOf(transparency, type, depth) : null;
  for (let at = 0; at < pixels; at++) {
    const from = samples.subarray(at * channels, (at + 1) * channels);
    for (let channel = 0; channel < 3; channel++) rgba[4 * at + channel] = from[channels < 3 ? 0 : channel] * scale;
    if (channels === 2 || channels === 4) rgba[4 * at + 3] = from[channels - 1];
    if (key?.every((value, channel) => rgba[4 * at + channel] === value)) rgba[4 * at + 3] = 0;
  }
  return rgba;
}

/** Return the colour that is transparent. Like Pillow, a grey of 2 or 4 bits is not scaled as the pixels are. */
function keyOf(transparency, type, depth) {
  const values = Array.from({ length: type === 2 ? 3 : 1 }, (_, at) => transparency[2 * at] * 256 + transparency[2 * at + 1]);
  return depth === 1 ? [values[0] ? 255 : 0] : values;
}
