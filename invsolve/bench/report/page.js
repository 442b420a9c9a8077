"use strict";
// Sortable tables, the before/after slider of each gallery, and the lightbox. Without it the page still shows everything.

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
for (const gallery of document.querySelectorAll(".gallery")) makeComparison(gallery);
makeLightbox(document.getElementById("lightbox"));

function makeSortable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      body.append(...[...body.rows].sort((a, b) => sign * compareCells(a.cells[column], b.cells[column])));
    });
  });
}

function compareCells(a, b) {
  const [x, y] = [a.dataset.value, b.dataset.value];
  if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
  return isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
}

function makeComparison(gallery) {
  const grids = [...gallery.querySelectorAll(".grid")];
  const stage = gallery.querySelector(".stage");
  const range = stage.querySelector("input");
  const sides = ["right", "left"].map((name) => {
    const image = new Image();
    image.className = name;
    stage.prepend(image);
    return { image, select: gallery.querySelector(`select.${name}`) };
  });
  stage.prepend(sides[0].image); // the left picture lies on the right one and is clipped
  let grid = grids[0];

  function show() {
    for (const other of grids) other.hidden = other !== grid;
    for (const { image, select } of sides) {
      const tile = tileNamed(grid, select.value) || grid.querySelector("figure");
      const source = tile.querySelector("img");
      image.src = source.src;
      image.alt = source.alt;
      image.classList.toggle("coarse", source.classList.contains("coarse"));
      stage.style.aspectRatio = `${source.getAttribute("width")} / ${source.getAttribute("height")}`;
    }
    cut(range.value);
  }

  function cut(percent) {
    range.value = percent;
    sides[1].image.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
    stage.querySelector(".handle").style.left = `${range.value}%`;
    range.setAttribute("aria-valuetext", `${Math.round(range.value)} % ${sides[1].select.value}, the rest ${sides[0].select.value}`);
  }

  function cutAt(event) {
    const box = stage.getBoundingClientRect();
    cut(100 * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
  }

  const names = [...new Set(grids.flatMap((one) => [...one.children].map((tile) => tile.dataset.name)))];
  for (const { select } of sides) {
    select.append(...names.map((name) => new Option(name, name)));
    select.addEventListener("change", show);
  }
  sides[0].select.value = names.includes(gallery.dataset.right) ? gallery.dataset.right : names[names.length - 1];
  sides[1].select.value = names.includes("measurement") ? "measurement" : names[0];
  if (grids.length > 1) gallery.querySelector(".thumbs").append(...grids.map(thumb));

  function thumb(one) {
    const source = one.querySelector("img");
    const button = document.createElement("button");
    const image = new Image();
    button.type = "button";
    button.title = one.dataset.picture;
    button.setAttribute("aria-pressed", one === grid);
    image.src = source.src;
    image.alt = `Picture ${one.dataset.picture}`;
    button.append(image);
    button.addEventListener("click", () => {
      grid = one;
      for (const other of button.parentNode.children) other.setAttribute("aria-pressed", other === button);
      show();
    });
    return button;
  }

  range.addEventListener("input", () => cut(range.value));
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault(); // no drag of the picture itself
    stage.setPointerCapture(event.pointerId);
    range.focus({ preventScroll: true });
    cutAt(event);
  });
  stage.addEventListener("pointermove", (event) => stage.hasPointerCapture(event.pointerId) && cutAt(event));
  gallery.querySelector(".compare").hidden = false;
  show();
}

function tileNamed(grid, name) {
  return [...grid.children].find((tile) => tile.dataset.name === name);
}

function makeLightbox(dialog) {
  const view = dialog.querySelector(".view");
  const pointers = new Map();
  const place = { scale: 1, x: 0, y: 0 }; // of the picture's pixels on the screen; x, y its corner: the same in every pane
  let panes = [view.querySelector(".pane")];
  let tiles = [], current = 0, fit = 1, width = 1, height = 1, together = false;

  const actions = {
    previous: () => step(-1),
    next: () => step(1),
    in: () => zoom(1.5),
    out: () => zoom(1 / 1.5),
    reset: () => whole(),
    full: () => zoom(1 / devicePixelRatio / place.scale),
    together: () => {
      together = !together;
      show(current);
      whole();
    },
    close: () => dialog.close(),
  };
  const keys = { ArrowLeft: "previous", ArrowRight: "next", "+": "in", "=": "in", "-": "out", 0: "reset", 1: "full", s: "together" };

  for (const button of document.querySelectorAll(".zoom")) {
    button.addEventListener("click", () => {
      tiles = [...button.closest(".grid").children];
      dialog.showModal();
      show(tiles.indexOf(button.parentNode));
      whole();
    });
  }

  function step(by) { // to another method, or with all of them to another picture
    if (!together) return show(current + by);
    const grid = tiles[0].parentNode;
    const grids = [...grid.parentNode.querySelectorAll(".grid")];
    tiles = [...grids[(grids.indexOf(grid) + by + grids.length) % grids.length].children];
    show(0);
    whole();
  }

  function show(index) {
    current = (index + tiles.length) % tiles.length;
    const shown = together ? tiles : [tiles[current]];
    while (panes.length < shown.length) panes.push(view.appendChild(panes[0].cloneNode(true)));
    for (const pane of panes.splice(shown.length)) pane.remove();
    shown.forEach((tile, i) => fill(panes[i], tile));
    view.style.setProperty("--columns", columns(shown.length));
    dialog.querySelector("[data-do=together]").setAttribute("aria-pressed", together);
    dialog.querySelector(".caption").textContent = together ? tiles[0].parentNode.dataset.picture : caption(tiles[current]);
    draw();
  }

  function fill(pane, tile) {
    const image = pane.querySelector("img");
    const source = tile.querySelector("img");
    image.src = source.src;
    image.alt = source.alt;
    image.width = width = Number(source.getAttribute("width")); // the truth's, so that every method lies at the same place
    image.height = height = Number(source.getAttribute("height"));
    image.dataset.coarse = source.classList.contains("coarse");
    pane.querySelector(".label").textContent = caption(tile);
  }

  function caption(tile) {
    const score = tile.querySelector(".score");
    const name = tile.querySelector(".name").textContent;
    return score ? `${name}: ${score.textContent}` : name;
  }

  function columns(count) { // so many that the pictures are as large as they can be
    const scale = (n) => Math.min(view.clientWidth / n / width, view.clientHeight / Math.ceil(count / n) / height);
    return Array.from({ length: count }, (_, i) => i + 1).reduce((best, n) => (scale(n) > scale(best) ? n : best), 1);
  }

  function whole() {
    fit = Math.min(panes[0].clientWidth / width, panes[0].clientHeight / height);
    Object.assign(place, { scale: fit, x: 0, y: 0 });
    draw();
  }

  function zoom(factor, x = panes[0].clientWidth / 2, y = panes[0].clientHeight / 2) {
    const least = Math.min(fit, 1 / devicePixelRatio);
    const scale = Math.min(Math.max(fit, 1) * 24, Math.max(least, place.scale * factor));
    const by = scale / place.scale;
    Object.assign(place, { scale, x: x - (x - place.x) * by, y: y - (y - place.y) * by });
    draw();
  }

  function inside(corner, size, room) {
    return size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, corner));
  }

  function draw() {
    place.x = inside(place.x, width * place.scale, panes[0].clientWidth);
    place.y = inside(place.y, height * place.scale, panes[0].clientHeight);
    for (const pane of panes) {
      const image = pane.querySelector("img");
      image.style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.scale})`;
      image.classList.toggle("coarse", image.dataset.coarse === "true" || place.scale * devicePixelRatio >= 6);
    }
    dialog.querySelector("[data-do=reset]").textContent = `${Math.round(100 * place.scale)} %`;
  }

  function within(point) { // a point of the screen, in the pane that it lies in
    const boxes = panes.map((pane) => pane.getBoundingClientRect());
    const holds = (box) => point.clientX >= box.left && point.clientX < box.right && point.clientY >= box.top && point.clientY < box.bottom;
    const box = boxes.find(holds) || boxes[0];
    return [point.clientX - box.left, point.clientY - box.top];
  }

  dialog.addEventListener("click", (event) => {
    const name = event.target.dataset.do;
    if (name) actions[name]();
  });
  dialog.addEventListener("keydown", (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault();
    actions[keys[event.key]]();
  });
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), ...within(event));
  }, { passive: false });
  view.addEventListener("dblclick", (event) => {
    if (place.scale > fit * 1.01) whole();
    else zoom(4, ...within(event));
  });
  view.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    view.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
  });
  view.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = grip();
    pointers.set(event.pointerId, event);
    const after = grip();
    place.x += after.x - before.x;
    place.y += after.y - before.y;
    zoom(before.spread ? after.spread / before.spread : 1, ...within({ clientX: after.x, clientY: after.y }));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    view.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  addEventListener("resize", () => {
    if (!dialog.open) return;
    show(current);
    whole();
  });

  function grip() { // the middle of the fingers, and how far they are apart
    const points = [...pointers.values()];
    const x = points.reduce((sum, point) => sum + point.clientX, 0) / points.length;
    const y = points.reduce((sum, point) => sum + point.clientY, 0) / points.length;
    const spread = points.length < 2 ? 0 : Math.hypot(points[0].clientX - x, points[0].clientY - y);
    return { x, y, spread };
  }
}
