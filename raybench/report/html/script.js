"use strict";
// Without this script the page is complete: it only sorts and filters tables, and opens details for printing.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const initial = [...body.rows];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] || "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next !== "none") head.setAttribute("aria-sort", next);
      const value = (row) => row.cells[column].dataset.value;
      const compare = (first, second) => {
        const [a, b] = [value(first), value(second)];
        if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1); // rows without a value come last in both directions
        const order = head.dataset.type === "number" ? Number(a) - Number(b) : a < b ? -1 : a > b ? 1 : 0;
        return next === "descending" ? -order : order;
      };
      body.append(...(next === "none" ? initial : [...initial].sort(compare)));
    });
  });
}

const controls = document.querySelector(".controls");
if (controls) {
  const [name, verdict, count] = ["filter-name", "filter-verdict", "filter-count"].map((id) => document.getElementById(id));
  const rows = [...document.querySelectorAll("tr[data-name]")];
  const filter = () => {
    const text = name.value.trim().toLowerCase();
    for (const row of rows) {
      const reference = row.dataset.verdict === "";
      const matches = row.dataset.name.includes(text) && (!verdict.value || row.dataset.verdict === verdict.value);
      row.hidden = !matches && !(reference && !text);
    }
    const shown = rows.filter((row) => !row.hidden && row.dataset.verdict !== "").length;
    count.textContent = text || verdict.value ? `${shown} methods shown` : "";
  };
  controls.hidden = false;
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("input", filter);
}

let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open], .on-demand, .on-demand *)")];
  opened.forEach((item) => { item.open = true; });
});
window.addEventListener("afterprint", () => opened.forEach((item) => { item.open = false; }));
