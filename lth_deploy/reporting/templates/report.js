"use strict";
// Click or press Enter on a heading to sort by it; the page is complete without this.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const key = (row, index) => {
    const raw = row.cells[index].dataset.sort;
    if (raw === undefined) return null;
    return headings[index].classList.contains("text") || isNaN(raw) ? raw : Number(raw);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  headings.forEach((heading, index) => {
    heading.tabIndex = 0;
    const sort = () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const known = [...body.rows].filter((row) => key(row, index) !== null);
      const missing = [...body.rows].filter((row) => key(row, index) === null);
      known.sort((a, b) => compare(key(a, index), key(b, index)) * (down ? -1 : 1));
      body.append(...known, ...missing);
    };
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  });
}
