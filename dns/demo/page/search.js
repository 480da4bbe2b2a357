// Ranks a gallery by similarity, and says how many strangers are expected to be as similar.

/** Return the similarity of the query to each row of the gallery. embedding: any length; rows: of length 1, (N, D). */
export function similarities(embedding, rows) {
  const width = embedding.length;
  const norm = Math.sqrt(embedding.reduce((sum, value) => sum + value * value, 0));
  if (!(norm > 0 && norm < Infinity)) throw new Error("gives an embedding that cannot be compared. Choose another image");
  const similarity = new Float64Array(rows.length / width);
  for (let row = 0; row < similarity.length; row++) {
    let sum = 0;
    for (let at = 0; at < width; at++) sum += embedding[at] * rows[row * width + at];
    similarity[row] = sum / norm;
  }
  return similarity;
}

/** Return the rows of the gallery, the most similar first; of equal ones the first of the gallery comes first. */
export function ranked(similarity) {
  return Array.from(similarity.keys()).sort((a, b) => similarity[b] - similarity[a] || a - b);
}

/**
 * Return {people, images, fewer}: how many people of the gallery who are not the query, and images of them, are expected
 * to be at least as similar. fewer: too few pairs of people decide, and there are fewer than that. null: no pairs tell.
 * curve: {similarity (falling), people, images (rising)}, measured at these similarities; between them it is a line.
 */
export function strangers({ similarity, people, images }, asked) {
  if (!similarity.length) return null;
  const next = similarity.findIndex((one) => one <= asked);
  if (next === 0) return { people: people[0], images: images[0], fewer: similarity[0] < asked };
  if (next < 0) return { people: people.at(-1), images: images.at(-1), fewer: false }; // less similar than every pair
  const share = (similarity[next - 1] - asked) / (similarity[next - 1] - similarity[next]);
  const between = (values) => values[next - 1] + share * (values[next] - values[next - 1]);
  return { people: between(people), images: between(images), fewer: false };
}

/** Return "fewer than 0.05", "0.31" or "12"; where no pairs tell, "not known". */
export function said(found, what) {
  if (!found) return "not known";
  const number = found[what] >= 9.95 ? Math.round(found[what]).toString() : found[what].toPrecision(2);
  return found.fewer ? `fewer than ${number}` : number;
}

/** Return the whole ranking as CSV. lines: rows of cells. */
export function toCsv(header, lines) {
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  return [header, ...lines].map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}
