"use strict";
// Tables: a click on a heading sorts by it; numbers (also "0.812 ± 0.03") by their first number, missing last.
const key = (cell) => {
  const text = cell.textContent.trim().replace("−", "-");
  const number = /^[<+]?-?\d/.test(text) ? parseFloat(text.replace(/^[<+]/, "").replaceAll(",", "")) : NaN;
  return { text, number, missing: text === "" || text === "–" };
};
const compare = (a, b) => {
  if (a.missing !== b.missing) return a.missing ? Infinity : -Infinity;
  if (!isNaN(a.number) && !isNaN(b.number)) return a.number - b.number;
  return a.text.localeCompare(b.text, "en", { numeric: true });
};
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: key(row.cells[column]) }));
      rows.sort((a, b) => {
        const order = compare(a.key, b.key);
        return down && isFinite(order) ? -order : order;
      });
      table.tBodies[0].append(...rows.map((entry) => entry.row));
    });
  });
}
for (const input of document.querySelectorAll("input[data-filter]")) {
  const body = document.getElementById("table-" + input.dataset.filter).tBodies[0];
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
// The section in view is marked in the navigation.
const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const link = links.get(entry.target.id);
    link?.classList.toggle("here", entry.isIntersecting);
    if (entry.isIntersecting) link?.setAttribute("aria-current", "true");
    else link?.removeAttribute("aria-current");
  }
}, { rootMargin: "-10% 0px -75% 0px" });
document.querySelectorAll("section").forEach((section) => watcher.observe(section));
// A picture that cannot be decoded is a visible gap; the root element says how many were shown.
window.addEventListener("load", () => {
  const pictures = [...document.images];
  const broken = pictures.filter((picture) => picture.naturalWidth === 0);
  for (const picture of broken) {
    const gap = document.createElement("div");
    gap.className = "gap small";
    gap.textContent = "the picture cannot be decoded";
    picture.replaceWith(gap);
  }
  document.documentElement.dataset.pictures = `${pictures.length - broken.length}/${pictures.length}`;
});
