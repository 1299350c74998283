"use strict";
const list = document.getElementById("list");
if (list) {
  const body = list.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, cells: Array.from(row.cells, (cell) => cell.textContent) }));
  const words = document.getElementById("words");
  const verdict = document.getElementById("verdict");
  const shown = document.getElementById("shown");

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let number = 0;
    for (const { row, cells } of rows) {
      const text = cells.join(" ").toLowerCase();
      const fits = wanted.every((word) => text.includes(word)) && (!verdict.value || cells[4] === verdict.value);
      row.hidden = !fits;
      number += fits;
    }
    shown.textContent = `${number} shown`;
  };

  const sort = (heading) => {
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentNode.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    const column = heading.cellIndex;
    rows.sort((a, b) => (ascending ? 1 : -1) * compare(a.cells[column], b.cells[column]));
    body.append(...rows.map(({ row }) => row));
  };

  words.addEventListener("input", filter);
  verdict.addEventListener("change", filter);
  document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
  for (const heading of list.tHead.rows[0].cells) heading.querySelector("button").addEventListener("click", () => sort(heading));
}
