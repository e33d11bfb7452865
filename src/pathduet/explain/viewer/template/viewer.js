"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const state = { layer: data.layers.length ? 0 : -1, opacity: 0.6, points: true, tile: null };

  // A picture of the slide made of files beside this page, loaded as images: works from file:// too.
  const viewer = OpenSeadragon({
    element: byId("slide"),
    tileSources: {
      width: data.pyramid.width, height: data.pyramid.height, tileSize: data.pyramid.tile, tileOverlap: 0,
      minLevel: 0, maxLevel: data.pyramid.levels - 1,
      getTileUrl: (level, x, y) => data.pyramid.folder + "/" + level + "/" + x + "_" + y + ".jpeg",
    },
    drawer: "canvas",  // WebGL may not read pictures of file:// pages
    showNavigationControl: false, showNavigator: true, navigatorPosition: "BOTTOM_RIGHT",
    animationTime: 0.5, maxZoomPixelRatio: 4, visibilityRatio: 0.5,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  });

  const canvas = document.createElement("canvas");
  canvas.id = "overlay";
  canvas.style.position = "absolute";
  canvas.style.left = canvas.style.top = "0";
  canvas.style.pointerEvents = "none";
  viewer.canvas.appendChild(canvas);

  // Level-0 pixels -> pixels of the page, read from the viewer: {x, y} of the origin, and pixels per level-0 pixel.
  function placement() {
    const item = viewer.world.getItemAt(0);
    if (!item) { return null; }
    const a = item.imageToViewerElementCoordinates(new OpenSeadragon.Point(0, 0));
    const b = item.imageToViewerElementCoordinates(new OpenSeadragon.Point(data.pyramid.width, 0));
    return { x: a.x, y: a.y, k: (b.x - a.x) / data.pyramid.width / data.pyramid.scale };
  }

  function mixed(ends, t) {
    const at = Math.max(0, Math.min(1, t)) * (ends.length - 1);
    const i = Math.min(Math.floor(at), ends.length - 2);
    const c = [0, 1, 2].map((j) => Math.round(ends[i][j] + (at - i) * (ends[i + 1][j] - ends[i][j])));
    return "rgb(" + c.join(",") + ")";
  }

  function draw() {
    const box = viewer.container.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    canvas.style.width = box.width + "px";
    canvas.style.height = box.height + "px";
    const p = placement();
    if (!p) { return; }
    drawScaleBar(p);
    if (state.layer < 0) { return; }
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const layer = data.layers[state.layer], tiles = data.tiles[layer.magnification];
    const snap = (v) => Math.round(v * ratio) / ratio;  // neighbours share an edge: no seams
    context.globalAlpha = state.opacity;
    tiles.columns.forEach((column, i) => {
      const x = snap(p.x + column * tiles.width * p.k), y = snap(p.y + tiles.rows[i] * tiles.height * p.k);
      const right = snap(p.x + (column + 1) * tiles.width * p.k), bottom = snap(p.y + (tiles.rows[i] + 1) * tiles.height * p.k);
      if (right < 0 || bottom < 0 || x > box.width || y > box.height) { return; }
      context.fillStyle = mixed(layer.colours, layer.values[i] / layer.top);
      context.fillRect(x, y, right - x, bottom - y);
    });
    context.globalAlpha = 1;
    if (state.tile) {
      const i = state.tile.index;
      context.lineWidth = 2;
      context.strokeStyle = "#111";
      context.strokeRect(p.x + tiles.columns[i] * tiles.width * p.k, p.y + tiles.rows[i] * tiles.height * p.k,
        tiles.width * p.k, tiles.height * p.k);
    }
    if (state.points) {
      context.fillStyle = "#fff";
      context.strokeStyle = "#111";
      context.lineWidth = 1;
      layer.points.forEach((point) => {
        context.beginPath();
        context.arc(p.x + point[0] * p.k, p.y + point[1] * p.k, 3, 0, 2 * Math.PI);
        context.fill();
        context.stroke();
      });
    }
  }

  function drawScaleBar(p) {
    const most = 160 * data.mpp / p.k;  // micrometres in 160 pixels of the page
    const power = Math.pow(10, Math.floor(Math.log10(most)));
    const length = power * [5, 2, 1].find((step) => step * power <= most);
    byId("bar-line").style.width = (length / data.mpp * p.k) + "px";
    byId("bar-text").textContent = length >= 1000 ? length / 1000 + " mm" : length + " µm";
  }

  function number(value) {
    if (value === 0) { return "0"; }
    return Math.abs(value) < 0.001 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  }

  // The tile under a point of the page, of the chosen layer's magnification.
  const lattice = {};
  Object.keys(data.tiles).forEach((m) => {
    lattice[m] = new Map(data.tiles[m].columns.map((column, i) => [column + " " + data.tiles[m].rows[i], i]));
  });
  function tileAt(x, y) {
    const p = placement();
    if (!p || state.layer < 0) { return null; }
    const layer = data.layers[state.layer], tiles = data.tiles[layer.magnification];
    const column = Math.floor((x - p.x) / p.k / tiles.width), row = Math.floor((y - p.y) / p.k / tiles.height);
    const index = lattice[layer.magnification].get(column + " " + row);
    return index === undefined ? null : { index: index, magnification: layer.magnification };
  }

  function showTip(x, y) {
    const tile = tileAt(x, y), tip = byId("tip");
    const changed = JSON.stringify(tile) !== JSON.stringify(state.tile);
    state.tile = tile;
    tip.hidden = tile === null;
    if (tile !== null) {
      if (changed) {
        const tiles = data.tiles[tile.magnification], list = document.createElement("dl"), head = document.createElement("b");
        head.textContent = tile.magnification + " tile " + tiles.ids[tile.index];
        const lines = [["column, row", tiles.columns[tile.index] + ", " + tiles.rows[tile.index]]];
        tiles.shown.forEach((one) => { lines.push([one.name, one.words ? one.words[one.values[tile.index]] : number(one.values[tile.index])]); });
        lines.forEach((line) => {
          const term = document.createElement("dt"), value = document.createElement("dd");
          term.textContent = line[0];
          value.textContent = line[1];
          list.append(term, value);
        });
        tip.replaceChildren(head, list);
      }
      const box = viewer.container.getBoundingClientRect();
      tip.style.left = Math.max(4, Math.min(x + 14, box.width - tip.offsetWidth - 4)) + "px";
      tip.style.top = Math.max(4, Math.min(y + 14, box.height - tip.offsetHeight - 4)) + "px";
    }
    if (changed) { draw(); }
  }

  function hideTip() {
    state.tile = null;
    byId("tip").hidden = true;
    draw();
  }

  function showLegend() {
    const legend = byId("legend");
    legend.replaceChildren();
    if (state.layer < 0) { return; }
    const layer = data.layers[state.layer], strip = document.createElement("canvas");
    strip.width = 200;
    strip.height = 1;
    const context = strip.getContext("2d");
    for (let i = 0; i < 200; i++) {
      // steps: as many equal parts as colours, nothing between them
      const part = Math.floor(i / 200 * layer.colours.length) / (layer.colours.length - 1);
      context.fillStyle = mixed(layer.colours, layer.steps ? part : i / 199);
      context.fillRect(i, 0, 1, 1);
    }
    const ends = document.createElement("div"), words = document.createElement("div");
    ends.className = "ends";
    layer.ends.forEach((text) => {
      const end = document.createElement("span");
      end.textContent = text;
      ends.append(end);
    });
    words.textContent = layer.legend;
    legend.append(strip, ends, words);
  }

  function choose(index) {
    state.layer = index;
    byId("points").disabled = index < 0 || data.layers[index].points.length === 0;
    hideTip();
    showLegend();
  }

  [...data.layers.map((layer) => layer.title + ", " + layer.magnification), "None"].forEach((title, i) => {
    const label = document.createElement("label"), radio = document.createElement("input");
    radio.type = "radio";
    radio.name = "layer";
    radio.value = String(i === data.layers.length ? -1 : i);
    radio.checked = Number(radio.value) === state.layer;
    radio.addEventListener("change", () => choose(Number(radio.value)));
    label.append(radio, title);
    byId("layers").append(label);
  });
  byId("opacity").addEventListener("input", (event) => {
    state.opacity = event.target.value / 100;
    byId("opacity-text").textContent = event.target.value + " %";
    draw();
  });
  byId("points").addEventListener("change", (event) => { state.points = event.target.checked; draw(); });
  byId("zoom-in").addEventListener("click", () => viewer.viewport.zoomBy(1.6));
  byId("zoom-out").addEventListener("click", () => viewer.viewport.zoomBy(1 / 1.6));
  byId("home").addEventListener("click", () => viewer.viewport.goHome());
  const root = document.documentElement;
  root.classList.toggle("dark", window.matchMedia("(prefers-color-scheme: dark)").matches);
  byId("ground").addEventListener("click", () => root.classList.toggle("dark"));

  const inSlide = (event) => {
    const box = viewer.container.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  viewer.container.addEventListener("pointermove", (event) => showTip(...inSlide(event)));
  viewer.container.addEventListener("pointerdown", (event) => showTip(...inSlide(event)));
  viewer.container.addEventListener("pointerleave", hideTip);
  ["open", "update-viewport", "resize"].forEach((name) => viewer.addHandler(name, draw));

  // What tests ask: is every picture in view loaded, did one fail, where is a tile.
  let failed = 0;
  viewer.addHandler("tile-load-failed", () => { failed += 1; });
  window.pathduet = {
    viewer: viewer, state: state, data: data, placement: placement,
    loaded: () => { const item = viewer.world.getItemAt(0); return Boolean(item && item.getFullyLoaded()); },
    failed: () => failed,
  };
  byId("opacity-text").textContent = byId("opacity").value + " %";
  choose(state.layer);
})();
