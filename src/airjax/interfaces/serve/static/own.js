// A picture of the user's own, at its full resolution: the boxes and masks of the objects found, and files to keep.

import { bytesOf, frame, SVG } from "./pictures.js";
import { objects, probability } from "./steps.js";

const TALL = 36; // largest height of a picture that is fitted to the page, in rem
const LETTERS = 13; // height of numbers, in pixels of the screen

const at = (id) => document.getElementById(`own-${id}`);

export class Own {
  constructor(card) {
    Object.assign(this, { card, size: [1, 1], boxes: [] });
    for (const layer of ["masks", "boxes"]) {
      at(`show-${layer}`).addEventListener("change", ({ target }) => (at(layer).style.visibility = target.checked ? "" : "hidden"));
    }
    at("show-full").addEventListener("change", () => this.fit());
    window.addEventListener("resize", () => this.fit());
  }

  hide() {
    document.getElementById("own").hidden = true;
  }

  /** Show what was found in a file. The pictures are decoded before anything is changed, and may fail to be. */
  async show(file, { own }, current) {
    const png = (content) => new Blob([bytesOf(content)], { type: "image/png" });
    const blobs = [own.picture ? png(own.picture) : file, png(own.masks)];
    const [picture, masks] = await Promise.all(blobs.map((blob) => createImageBitmap(blob)));
    if (!current()) return false;
    Object.assign(this, { size: [own.width, own.height], boxes: own.boxes });
    draw(at("picture"), this.size, picture, "#fff"); // transparent parts are white for the model, too
    draw(at("masks"), this.size, masks);
    at("about").textContent = `${file.name}, ${own.width} × ${own.height}`;
    at("picture").setAttribute("aria-label", `${file.name} with ${objects(own.count)} marked`);
    at("count").textContent = own.count ? objects(own.count) : "no object";
    at("p").textContent = probability(own.p);
    at("q").textContent = own.tiled ? "" : probability(own.q);
    at("q").parentElement.hidden = own.tiled;
    for (const n of document.querySelectorAll("#own .n")) n.textContent = own.count;
    offer(at("table"), new Blob([bytesOf(own.table)], { type: "text/csv" }), file, ".csv");
    offer(at("labels"), png(own.labels), file, "-labels.png");
    document.getElementById("own").hidden = false;
    this.fit();
    return true;
  }

  /** Fit the picture to the page, or show one pixel as one. */
  fit() {
    const [width, height] = this.size;
    at("sheet").style.width = at("show-full").checked ? `${width}px` : `min(100%, ${(TALL * width) / height}rem)`;
    const shown = at("sheet").clientWidth;
    if (!shown) return; // it is hidden
    at("sheet").classList.toggle("enlarged", shown > 2 * width);
    frame(at("boxes"), [1, height, width], this.boxes, this.card.colours);
    at("boxes").append(...this.boxes.map((box, place) => this.number(place + 1, box, (LETTERS * width) / shown)));
  }

  /** Write an object's number, which is that of the table and the label image, at its box. */
  number(number, [x0, y0], size) {
    const text = document.createElementNS(SVG, "text");
    const place = { x: Math.min(x0, this.size[0] - size), y: Math.max(y0 - size / 4, size), "font-size": size };
    for (const [name, value] of Object.entries(place)) text.setAttribute(name, value);
    text.textContent = number;
    return text;
  }
}

function draw(canvas, [width, height], bitmap, ground) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  if (ground) {
    context.fillStyle = ground;
    context.fillRect(0, 0, width, height);
  }
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
}

/** Let a link save a file, named after the picture. */
function offer(link, blob, { name }, ending) {
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/\.[^.]*$/, "") + ending;
}
