// Only comfort: the page is whole without it.
"use strict";
for (const table of document.querySelectorAll("table")) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const compare = (a, b) => a.cells[column].textContent.localeCompare(b.cells[column].textContent, "en", { numeric: true });
      const numbers = (a, b) => parseFloat(a.cells[column].textContent) - parseFloat(b.cells[column].textContent);
      const isNumber = (text) => !Number.isNaN(parseFloat(text)) && !/^\d+-\d\d-\d\d/.test(text); // not a date
      const all = rows.every((row) => isNumber(row.cells[column].textContent));
      rows.sort((a, b) => (rising ? 1 : -1) * (all ? numbers(a, b) : compare(a, b)));
      table.tBodies[0].append(...rows);
    });
  });
}
for (const list of document.querySelectorAll(".queries")) {
  const queries = [...list.children];
  const groups = [...new Set(queries.map((query) => query.dataset.group))];
  const select = document.createElement("select");
  select.append(new Option("all", ""), ...groups.map((group) => new Option(group, group)));
  const search = document.createElement("input");
  search.type = "search";
  const show = () => {
    const wanted = search.value.toLowerCase();
    for (const query of queries) {
      const fits = !select.value || query.dataset.group === select.value;
      query.hidden = !(fits && query.textContent.toLowerCase().includes(wanted));
    }
  };
  select.addEventListener("change", show);
  search.addEventListener("input", show);
  const labelled = (name, control) => {
    const label = document.createElement("label");
    label.append(name + " ", control);
    return label;
  };
  const controls = document.createElement("div");
  controls.className = "controls";
  controls.append(labelled("Queries", select), labelled("Holding the text", search));
  list.before(controls);
}
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
tip.setAttribute("aria-hidden", "true");
document.body.append(tip);
document.addEventListener("pointermove", (event) => {
  const title = event.target.closest?.("svg.dns *")?.querySelector(":scope > title");
  tip.hidden = !title;
  if (!title) return;
  tip.textContent = title.textContent;
  tip.style.left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8) + "px";
  tip.style.top = event.clientY + 16 + "px";
});
