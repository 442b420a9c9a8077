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
  const image = view.querySelector("img");
  const pointers = new Map();
  const place = { scale: 1, x: 0, y: 0 }; // of the picture's pixels on the screen; x, y its corner
  let tiles = [], current = 0, fit = 1;

  const actions = {
    previous: () => show(current - 1),
    next: () => show(current + 1),
    in: () => zoom(1.5),
    out: () => zoom(1 / 1.5),
    reset: () => whole(),
    close: () => dialog.close(),
  };
  const keys = { ArrowLeft: "previous", ArrowRight: "next", "+": "in", "=": "in", "-": "out", 0: "reset" };

  for (const button of document.querySelectorAll(".zoom")) {
    button.addEventListener("click", () => {
      tiles = [...button.closest(".grid").children];
      dialog.showModal();
      show(tiles.indexOf(button.parentNode));
      whole();
    });
  }

  function show(index) {
    current = (index + tiles.length) % tiles.length;
    const source = tiles[current].querySelector("img");
    image.src = source.src;
    image.alt = source.alt;
    image.width = source.getAttribute("width"); // the truth's, so that every method lies at the same place
    image.height = source.getAttribute("height");
    image.dataset.coarse = source.classList.contains("coarse");
    const score = tiles[current].querySelector(".score");
    const name = tiles[current].querySelector(".name").textContent;
    dialog.querySelector(".caption").textContent = score ? `${name}: ${score.textContent}` : name;
    draw();
  }

  function whole() {
    fit = Math.min(view.clientWidth / image.width, view.clientHeight / image.height);
    Object.assign(place, { scale: fit, x: 0, y: 0 });
    draw();
  }

  function zoom(factor, x = view.clientWidth / 2, y = view.clientHeight / 2) {
    const scale = Math.min(fit * 24, Math.max(fit, place.scale * factor));
    const by = scale / place.scale;
    Object.assign(place, { scale, x: x - (x - place.x) * by, y: y - (y - place.y) * by });
    draw();
  }

  function inside(corner, size, room) {
    return size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, corner));
  }

  function draw() {
    place.x = inside(place.x, image.width * place.scale, view.clientWidth);
    place.y = inside(place.y, image.height * place.scale, view.clientHeight);
    image.style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.scale})`;
    image.classList.toggle("coarse", image.dataset.coarse === "true" || place.scale * devicePixelRatio >= 6);
    dialog.querySelector(".scale").textContent = `${Math.round(100 * place.scale)} %`;
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
    const box = view.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  view.addEventListener("dblclick", (event) => {
    const box = view.getBoundingClientRect();
    if (place.scale > fit * 1.01) whole();
    else zoom(4, event.clientX - box.left, event.clientY - box.top);
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
    const box = view.getBoundingClientRect();
    zoom(before.spread ? after.spread / before.spread : 1, after.x - box.left, after.y - box.top);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    view.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  addEventListener("resize", () => dialog.open && whole());

  function grip() { // the middle of the fingers, and how far they are apart
    const points = [...pointers.values()];
    const x = points.reduce((sum, point) => sum + point.clientX, 0) / points.length;
    const y = points.reduce((sum, point) => sum + point.clientY, 0) / points.length;
    const spread = points.length < 2 ? 0 : Math.hypot(points[0].clientX - x, points[0].clientY - y);
    return { x, y, spread };
  }
}
