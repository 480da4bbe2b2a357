// The page: an image is dropped or chosen -> read -> embedded -> the gallery ranked -> a list on the page.

import { readImage } from "./image.js";
import { fetched, openNetwork } from "./network.js";
import { ranked, said, similarities, strangers, toCsv } from "./search.js";

const SHOWN = 10; // images of a ranked list; the table has LISTED lines, the CSV all
const LISTED = 50;
const [form, input, results, status, problems] =
  ["ask", "file", "results", "status", "problems"].map((id) => document.getElementById(id));
const networks = new Map(); // modality -> promise of a network
const galleries = new Map(); // modality -> promise of its embeddings
let about;
let work = Promise.resolve(); // images are taken one after another

/** Make an element. Every text that comes from a file's or a data set's name is set as text, never as HTML. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function kept(map, key, make) {
  if (!map.has(key)) map.set(key, make().catch((error) => { map.delete(key); throw error; }));
  return map.get(key);
}

function chosenModality() {
  return new FormData(form).get("modality");
}

function opened(modality) {
  const { file, bytes, searches } = about.networks[modality];
  const network = kept(networks, modality, async () => {
    status.textContent = `Loading the network for ${modality} images (${(bytes / 1e6).toFixed(1)} MB) ...`;
    return openNetwork(file, about.size_px);
  });
  const gallery = kept(galleries, searches, async () => new Float32Array(await fetched(about.galleries[searches].file)));
  return Promise.all([network, gallery]);
}

async function search(file, modality) {
  try {
    const begin = performance.now();
    const [network, rows] = await opened(modality);
    status.textContent = `Searching for ${file.name} ...`;
    const image = await readImage(file);
    await new Promise((resolve) => setTimeout(resolve)); // lets the browser show the status
    const similarity = similarities(await network(image), rows);
    results.prepend(rankedList(file, modality, similarity));
    status.textContent = `${file.name}: ranked in ${((performance.now() - begin) / 1000).toFixed(2)} s.`;
  } catch (error) {
    problems.append(element("p", {}, `${file.name}: ${error.message}.`));
    status.textContent = "";
  }
}

function rankedList(file, modality, similarity) {
  const { searches, strangers: curve } = about.networks[modality];
  const gallery = about.galleries[searches];
  const order = ranked(similarity);
  const lines = order.map((row, place) => ({
    ...gallery.images[row], rank: place + 1, similarity: similarity[row], strangers: strangers(curve, similarity[row]),
  }));
  const people = new Set(gallery.images.map((one) => one.identity)).size;
  return element("li", { className: "query" },
    element("p", {}, element("b", {}, file.name), ` (${modality}), nearest of ${lines.length} ${searches} images: ` +
      `identity ${lines[0].identity}, similarity ${lines[0].similarity.toFixed(3)}. `, ...chance(lines[0], people)),
    element("ul", { className: "row" }, asked(file), ...lines.slice(0, SHOWN).map(cell)),
    table(lines.slice(0, LISTED)), element("p", {}, saved(file, lines)));
}

function chance({ strangers: found }, people) {
  if (!found) return ["The test set has too few people to tell how many strangers score as high."];
  const few = found.fewer ? " Too few pairs of people score so high to say more." : "";
  return [`Of the gallery's ${people} people, `, element("b", {}, said(found, "people")),
    ` who are not the query are expected to score as high, with ${said(found, "images")} images.${few}`];
}

function asked(file) {
  const uri = URL.createObjectURL(file);
  const image = element("img", { src: uri, alt: `the query, ${file.name}` });
  image.addEventListener("load", () => URL.revokeObjectURL(uri));
  return element("li", { className: "cell asked" }, image, element("b", {}, "query"));
}

function cell(line) {
  const name = `rank ${line.rank}, identity ${line.identity}`;
  const picture = line.thumbnail
    ? element("img", { src: line.thumbnail, alt: name, loading: "lazy" })
    : element("span", { className: "blank" }, String(line.identity));
  return element("li", { className: "cell", title: line.path }, picture, element("b", {}, `${line.rank}`),
    element("br"), `identity ${line.identity}`, element("br"), line.similarity.toFixed(3),
    element("br"), `${said(line.strangers, "people").replace("fewer than ", "<")} strangers`);
}

const HEADER = ["rank", "image", "identity", "camera", "similarity", "strangers (people)", "strangers (images)"];

function cells(line, digits) {
  const expected = ["people", "images"].map((what) => said(line.strangers, what));
  return [line.rank, line.path, line.identity, line.camera, line.similarity.toFixed(digits), ...expected];
}

function table(lines) {
  const head = element("tr", {}, ...HEADER.map((name) => element("th", { scope: "col" }, name)));
  const body = lines.map((line) => element("tr", {}, ...cells(line, 4).map((value) => element("td", {}, String(value)))));
  const caption = `The first ${lines.length} images, and how many strangers are expected to score as high`;
  const whole = element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body));
  const scroll = element("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: caption }, whole);
  return element("details", {}, element("summary", {}, "Table"), scroll);
}

function saved(file, lines) {
  const csv = toCsv(HEADER, lines.map((line) => cells(line, 6)));
  const href = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
  return element("a", { href, download: `${file.name}-ranking.csv` }, `Save all ${lines.length} ranks as CSV`);
}

function take(files) {
  problems.replaceChildren();
  const modality = chosenModality();
  for (const file of files) work = work.then(() => search(file, modality));
}

function listen() {
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault(); // else the browser would leave this page for the file
      document.body.classList.toggle("over", ["dragenter", "dragover"].includes(name));
      if (name === "drop") take([...event.dataTransfer.files]);
    });
  }
  form.addEventListener("change", (event) => event.target.name === "modality" && ready());
}

/** Load what the chosen modality needs before the first image comes. */
async function ready() {
  const modality = chosenModality();
  try {
    await opened(modality);
    status.textContent = `Ready for ${modality} images.`;
  } catch (error) {
    status.textContent = "";
    problems.append(element("p", {}, `The network for ${modality} images cannot be opened: ${error.message}`));
  }
}

async function start() {
  about = JSON.parse(new TextDecoder().decode(await fetched("demo.json")));
  document.getElementById("lead").textContent = about.lead;
  document.getElementById("terms").textContent = about.terms;
  const choices = Object.keys(about.networks).map((name, at) => element("label", {},
    element("input", { type: "radio", name: "modality", value: name, checked: at === 0 }), ` ${name}`));
  document.getElementById("modalities").append(...choices);
  document.getElementById("unserved").remove();
  form.hidden = false;
  listen();
  await ready();
}

start().catch((error) => problems.append(element("p", {}, `This page cannot start: ${error.message}`)));
