"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const [plot, tip, filter, rows, head] = ["plot", "tip", "filter", "rows", "head"].map(byId);
  const box = { left: 60, right: 985, top: 15, bottom: 515 };
  const SHOWN = 200;
  const RANK = "rank in its subspace";
  let order = { key: "y", down: true };

  const svg = (name, attributes, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const cell = (name, text) => {
    const node = document.createElement(name);
    node.textContent = text;
    return node;
  };
  const option = (value, text) => {
    const node = cell("option", text);
    node.value = value;
    return node;
  };
  const number = (value, digits) => (value === undefined ? "" : value.toFixed(digits));
  const small = (q) => (q === undefined ? "" : q < 0.001 ? q.toExponential(1) : q.toFixed(3));

  const groupOf = Object.fromEntries(data.subspaces.map((s, i) => [s.id, { style: `s${i}`, name: s.name }]));
  const nameOf = Object.fromEntries(data.models.map((m) => [m.id, m.name]));
  byId("x").append(option("", RANK), ...data.models.map((m) => option(m.id, m.name)));
  byId("y").append(...data.models.map((m) => option(m.id, m.name)));
  if (data.models.length > 1) byId("x").value = data.models[data.models.length - 1].id;

  const matching = () => {
    const wanted = filter.value.toUpperCase().split(/[\s,;]+/).filter(Boolean);
    return data.genes.filter((gene) => !wanted.length || wanted.some((part) => gene.g.toUpperCase().includes(part)));
  };

  const describe = (gene) =>
    [`${gene.g} (${groupOf[gene.s].name})`]
      .concat(data.models.filter((m) => gene.m[m.id]).map((m) => {
        const [r, q, rank, n] = gene.m[m.id];
        return `${m.name}: r = ${r.toFixed(3)}, q = ${small(q)}, rank ${rank}, n = ${n}`;
      }))
      .join("\n");

  function draw() {
    const [x, y] = [byId("x").value, byId("y").value];
    const genes = matching().filter((gene) => gene.m[y] && (!x || gene.m[x]));
    const all = data.genes.filter((gene) => gene.m[y]);
    const most = Math.max(2, ...all.map((gene) => gene.m[y][2]));
    const across = (gene) => (x ? (gene.m[x][0] + 1) / 2 : (gene.m[y][2] - 1) / (most - 1));
    const px = (v) => box.left + v * (box.right - box.left);
    const py = (r) => box.bottom - ((r + 1) / 2) * (box.bottom - box.top);
    plot.replaceChildren();
    for (let tick = -1; tick <= 1.001; tick += 0.5) {
      plot.append(svg("line", { class: tick ? "axis" : "zero", x1: box.left, x2: box.right, y1: py(tick), y2: py(tick) }));
      plot.append(svg("text", { x: box.left - 8, y: py(tick) + 4, "text-anchor": "end" }, tick.toFixed(1)));
      const at = (tick + 1) / 2;
      const text = x ? tick.toFixed(1) : String(Math.round(1 + at * (most - 1)));
      plot.append(svg("line", { class: x && !tick ? "zero" : "axis", x1: px(at), x2: px(at), y1: box.top, y2: box.bottom }));
      plot.append(svg("text", { x: px(at), y: box.bottom + 18, "text-anchor": "middle" }, text));
    }
    plot.append(svg("text", { x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle" }, x ? `r, ${nameOf[x]}` : RANK));
    plot.append(svg("text", { transform: `translate(14 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, `r, ${nameOf[y] || ""}`));
    for (const gene of [...genes].sort((a, b) => a.p - b.p)) {
      const [r, q] = gene.m[y];
      const state = q < 0.05 ? "sure" : "open";
      const dot = svg("circle", { class: `${groupOf[gene.s].style} ${state}${gene.p ? " marked" : ""}`, cx: px(across(gene)), cy: py(r), r: gene.p ? 6 : 3.6 });
      dot.gene = gene;
      plot.append(dot);
      if (gene.p) plot.append(svg("text", { class: "label", x: px(across(gene)) + 9, y: py(r) - 6 }, gene.g));
    }
    byId("count").textContent = `${genes.length} of ${data.genes.length} genes`;
    list(genes, x, y);
  }

  function list(genes, x, y) {
    const columns = [["g", "Gene"], ["s", "Subspace"], ["y", `r, ${nameOf[y] || ""}`], ["q", "q"]];
    if (x && x !== y) columns.push(["x", `r, ${nameOf[x]}`]);
    head.replaceChildren(...columns.map(([key, title]) => {
      const th = document.createElement("th");
      const button = cell("button", title + (order.key === key ? (order.down ? " ↓" : " ↑") : ""));
      button.addEventListener("click", () => {
        order = { key, down: order.key === key ? !order.down : key === "y" || key === "x" };
        draw();
      });
      th.append(button);
      return th;
    }));
    const value = (gene) => ({ g: gene.g, s: gene.s, y: gene.m[y][0], q: gene.m[y][1], x: x ? gene.m[x][0] : 0 })[order.key];
    const sorted = [...genes].sort((a, b) => {
      const [first, second] = [value(a), value(b)];
      const sign = first < second ? -1 : first > second ? 1 : 0;
      return order.down ? -sign : sign;
    });
    rows.replaceChildren(...sorted.slice(0, SHOWN).map((gene) => {
      const tr = document.createElement("tr");
      tr.append(cell("td", gene.g), cell("td", groupOf[gene.s].name), cell("td", number(gene.m[y][0], 3)), cell("td", small(gene.m[y][1])));
      if (x && x !== y) tr.append(cell("td", number(gene.m[x][0], 3)));
      return tr;
    }));
    byId("more").textContent = sorted.length > SHOWN ? `The first ${SHOWN} of ${sorted.length}; all are in gene_correlation.tsv.` : "";
  }

  let active = null;
  plot.addEventListener("pointermove", (event) => {
    if (active) active.classList.remove("active");
    active = event.target.gene ? event.target : null;
    tip.hidden = !active;
    if (!active) return;
    active.classList.add("active");
    tip.textContent = describe(active.gene);
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
  });
  plot.addEventListener("pointerleave", () => { tip.hidden = true; });
  for (const id of ["x", "y"]) byId(id).addEventListener("change", draw);
  filter.addEventListener("input", draw);
  draw();
})();
