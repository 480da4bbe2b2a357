// The page: a photo is dropped or chosen -> the service searches -> hits with their small images, modality by modality.

const TRIES = 5; // of a request that the service is too busy for
const DECISIONS = { somebody: "somebody", nobody: "nobody", unknown: "cannot tell" };
const NOBODY = " So the first hit cannot be told from a stranger. The person may have been there all the same.";
const LEAST = 1e-4; // of strangers: smaller numbers say no more than that
const [form, input, results, status, problems, unlock] =
  ["ask", "file", "results", "status", "problems", "unlock"].map((id) => document.getElementById(id));
let work = Promise.resolve(); // photos are searched for one after another
let started = false;

/** Make an element. Every text that comes from a file, an index or the service is set as text, never as HTML. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Ask the service. Throws an Error whose message is the service's sentence. */
async function fetched(address, options = {}) {
  const token = sessionStorage.getItem("token"); // of this tab: it is forgotten when the tab is closed
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  for (let tries = 1; ; tries++) {
    const answer = await fetch(address, { ...options, headers }).catch(() => {
      throw new Error("the service does not answer. See whether it still runs, then try again");
    });
    if (answer.ok) return answer;
    const wait = Number(answer.headers.get("Retry-After"));
    if (answer.status === 503 && wait === 1 && tries < TRIES) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
      continue;
    }
    const { error } = await answer.json().catch(() => ({ error: `the service answers ${answer.status}` }));
    if (answer.status === 401) lock();
    throw new Error(error);
  }
}

function lock() {
  sessionStorage.removeItem("token");
  form.hidden = true;
  unlock.hidden = false;
  status.textContent = "";
}

/** Return what the form says as parameters; empty fields are left out. */
function parameters() {
  return new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
}

async function search(file, asked) {
  try {
    status.textContent = `Searching for ${file.name} ...`;
    const begin = performance.now();
    const answer = await fetched(`search?${asked}`, { method: "POST", body: file });
    const { answers } = await answer.json();
    results.prepend(shown(file, asked, answers));
    status.textContent = `${file.name}: searched in ${((performance.now() - begin) / 1000).toFixed(2)} s.`;
  } catch (error) {
    problems.append(element("p", {}, `${file.name}: ${error.message}.`));
    status.textContent = "";
  }
}

/** Say what was asked of the rows: the form may say something else by now. */
function filters(asked) {
  const said = [asked.get("cameras") ? `cameras ${asked.get("cameras").split(",").join(", ")}` : "all cameras"];
  for (const name of ["since", "until"]) {
    if (asked.get(name)) said.push(`${name} ${asked.get(name).replace("T", " ")} UTC`);
  }
  return said.join(", ");
}

function shown(file, asked, answers) {
  const about = ` (${asked.get("modality")}). Searched: ${filters(asked)}.`;
  const found = element("li", { className: "query" }, element("p", {}, element("b", {}, file.name), about));
  if (!answers.length) found.append(element("p", {}, "No row fits the filters: nobody."));
  for (const one of answers) {
    const title = `Among ${one.searched.toLocaleString("en")} ${one.rows} rows: ${DECISIONS[one.decision]}`;
    const meaning = one.decision === "nobody" && one.hits.length ? NOBODY : "";
    found.append(element("h3", {}, title), element("p", {}, one.reason, meaning),
      element("ul", { className: "row hits" }, photo(file), ...one.hits.map(cell)));
  }
  return found;
}

function photo(file) {
  const uri = URL.createObjectURL(file);
  const image = element("img", { src: uri, alt: `the query, ${file.name}` });
  for (const event of ["load", "error"]) image.addEventListener(event, () => URL.revokeObjectURL(uri));
  return element("li", { className: "cell asked" }, image, element("b", {}, "query"));
}

function cell(hit) {
  const lines = [`similarity ${hit.similarity.toFixed(3)}`, strangers(hit), hit.camera, when(hit),
    hit.images === 1 ? "1 image" : `${hit.images} images`];
  const blank = element("span", { className: "blank" }, `row ${hit.number}`);
  const made = element("li", { className: "cell", title: hit.image }, blank, element("b", {}, `${hit.rank}`));
  for (const line of lines) made.append(element("br"), line);
  picture(hit, blank);
  return made;
}

/** Put a hit's small image in the place of its number. An index may keep none. */
async function picture(hit, blank) {
  try {
    const content = await (await fetched(`thumbnails/${hit.number}`)).blob();
    if (!content.size) return;
    const image = element("img", { src: URL.createObjectURL(content), alt: `rank ${hit.rank}, ${hit.camera}` });
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
    blank.replaceWith(image);
  } catch {
    // The number stays: the row was removed meanwhile, or the service is busy.
  }
}

/** Say how many strangers are expected to be as similar, in two digits. */
function strangers({ strangers: expected, at_most: most }) {
  if (expected === null) return "not calibrated";
  const least = Math.max(expected, LEAST);
  const digits = least >= 10 ? least.toFixed(0) : String(Number(least.toPrecision(2)));
  return `${most || expected < LEAST ? "at most " : ""}${digits} strangers`;
}

function when({ first_ms: first, last_ms: last }) {
  if (first === null || last === null) return "time not known";
  const [from, to] = [first, last].map((time) => new Date(time).toISOString().slice(0, 19).replace("T", " "));
  return from === to ? `${from} UTC` : `${from} to ${from.slice(0, 10) === to.slice(0, 10) ? to.slice(11) : to} UTC`;
}

function take(files) {
  problems.replaceChildren();
  const asked = parameters();
  for (const file of files) work = work.then(() => search(file, asked));
}

function listen() {
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault(); // else the browser would leave this page for the file
      document.body.classList.toggle("over", ["dragenter", "dragover"].includes(name));
      if (name === "drop" && !form.hidden) take([...event.dataTransfer.files]);
    });
  }
}

/** Say what the index holds, and let the user ask. */
async function open() {
  const about = await (await fetched("about")).json();
  unlock.hidden = true;
  form.hidden = false;
  if (started) return;
  started = true;
  document.getElementById("lead").textContent = `The index ${about.index} has ${about.rows.toLocaleString("en")} rows of ` +
    `${about.cameras_in_all.toLocaleString("en")} cameras. ${about.network}`;
  document.getElementById("trust").append(...about.trust.map((sentence) => element("p", {}, sentence)));
  document.getElementById("cameras").append(...about.cameras.map((name) => element("option", { value: name })));
  document.getElementById("modalities").append(...about.modalities.map((name, at) => element("label", {},
    element("input", { type: "radio", name: "modality", value: name, checked: at === 0 }), ` ${name}`)));
  listen();
  status.textContent = "Ready.";
}

function complain(error) {
  status.textContent = "";
  problems.replaceChildren(element("p", {}, `This page cannot open the index: ${error.message}.`));
}

unlock.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", document.getElementById("token").value.trim());
  problems.replaceChildren();
  open().catch(complain);
});

async function start() {
  const { token } = await (await fetched("health")).json();
  if (token && !sessionStorage.getItem("token")) lock();
  else await open();
}

start().catch(complain);
