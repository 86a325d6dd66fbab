// The first view: a scene, and the objects that the model finds in it, step by step.

import { ask } from "./api.js";
import { Errands, oneAtATime } from "./errands.js";
import { Own } from "./own.js";
import { Pad } from "./pad.js";
import { decode, frame, paint, paintGlimpse } from "./pictures.js";
import { captioned, objects, Steps } from "./steps.js";

const KINDS = ["png", "jpeg", "webp", "gif", "bmp"].map((kind) => `image/${kind}`);
const at = (id) => document.getElementById(id);

export class Look {
  constructor(card, trouble) {
    Object.assign(this, { card, turn: 0, drawing: false });
    this.steps = new Steps(at("look"), "", card, (step, _, colour) => this.picturesOf(step, colour));
    this.errands = new Errands(at("look"), trouble);
    this.keepUp = oneAtATime(() => this.errands.attempt(() => this.infer(this.pad.picture)));
    this.pad = new Pad(at("pad"), card, (drawing) => this.drawn(drawing));
    this.own = new Own(card);
    this.guide();
    this.listen();
  }

  /** Show the size of the objects that the model knows on an empty scene. */
  guide() {
    const [, height, width] = this.card.image_shape;
    const { width: w, height: h } = this.card.typical;
    at("known").textContent = `${Math.round(w)} × ${Math.round(h)}`;
    frame(at("guide"), this.card.image_shape, [[(width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2]], []);
  }

  /** Start with a scene in which objects are found, unless the user acts first. */
  begin() {
    return this.errands.busily(async () => {
      for (let seed = 0; seed < 8 && !this.steps.answer?.count; seed++) {
        if (!(await this.takeScene(seed))) return;
      }
    });
  }

  /** Show a picture and the objects found in it; return true unless another request started in the meantime. */
  async watch(picture, source) {
    this.place(picture, source);
    this.own.hide();
    if (!(await this.infer(picture))) return false;
    this.begun();
    return true;
  }

  place(picture, source) {
    this.steps.pause();
    this.pad.load(picture);
    at("source").textContent = source;
  }

  begun() {
    this.steps.goTo(0);
    this.steps.play();
  }

  takeScene(seed) {
    return this.errands.attempt(async () => {
      const turn = ++this.turn;
      const { image, source } = await ask("/api/scene", { seed });
      if (turn !== this.turn) return false;
      return this.watch(decode(image), source === "held-out" ? "held out from training" : "sampled from the prior");
    });
  }

  /** Show a file and the objects found in it, at its own size and as the server fits it to the model's. */
  takeFile(file) {
    return this.errands.attempt(async () => {
      const turn = ++this.turn;
      if (file.size > this.card.max_body) throw new Error(`A picture may have at most ${this.card.max_body / 1e6} MB.`);
      if (!KINDS.includes(file.type)) throw new Error(`${file.name} can't be shown: pictures must be PNG, JPEG, WebP, GIF or BMP.`);
      const asked = performance.now();
      const answer = await ask(`/api/infer?name=${encodeURIComponent(file.name)}`, file);
      const took = performance.now() - asked;
      if (!(await this.own.show(file, answer, () => turn === this.turn))) return;
      const [, height, width] = this.card.image_shape;
      const image = decode(answer.image);
      const size = `${width} × ${height}`;
      const fitted = answer.own.tiled ? `its middle tile of ${size}` : `fitted to ${size}`;
      this.place(image, `${file.name}, ${answer.own.inverted ? "inverted and " : ""}${fitted}`);
      this.show(answer, image, took);
      this.begun();
    });
  }

  /** Follow the pen: one request at a time, always for the newest scene. */
  async drawn(drawing) {
    this.steps.pause();
    this.own.hide();
    at("source").textContent = "drawn by you";
    this.drawing = drawing;
    if (!(await this.errands.busily(this.keepUp))) return;
    if (!this.drawing && !this.steps.playing) this.steps.say(objects(this.steps.answer?.count ?? 0));
  }

  /** Show the objects found in a picture; return false if another request started before the answer came. */
  async infer(picture) {
    const turn = ++this.turn;
    const [channels, height, width] = picture.shape;
    const part = (c, i) => picture.values[c * height * width + i];
    const pixel = (i) => (channels === 1 ? part(0, i) : [0, 1, 2].map((c) => part(c, i)));
    const row = (y) => Array.from({ length: width }, (_, x) => pixel(y * width + x));
    const asked = performance.now();
    const answer = await ask("/api/infer", { pixels: Array.from({ length: height }, (_, y) => row(y)) });
    if (turn !== this.turn) return false;
    this.show(answer, picture, performance.now() - asked);
    return true;
  }

  show(answer, image, milliseconds) {
    this.steps.show({ ...answer, image, canvases: answer.canvases.map(decode) }, milliseconds);
  }

  picturesOf(step, colour) {
    return [
      captioned(paintGlimpse, decode(step.glimpse), "looks at", colour),
      captioned(paint, decode(step.object), "draws", colour),
    ];
  }

  listen() {
    const actions = {
      random: () => this.takeScene(Math.floor(Math.random() * 2 ** 32)),
      open: () => at("file").click(),
      undo: () => this.pad.undo(),
      clear: () => {
        this.pad.clear();
        this.drawn(false);
      },
    };
    for (const [id, action] of Object.entries(actions)) at(id).addEventListener("click", action);
    document.addEventListener("keydown", (event) => {
      if (at("look").hidden || event.target.closest("[role=tab], input") || !event.ctrlKey || event.key !== "z") return;
      event.preventDefault();
      actions.undo();
    });
    at("file").addEventListener("change", ({ target }) => {
      if (target.files.length) this.takeFile(target.files[0]);
      target.value = "";
    });
    const dropped = at("look");
    dropped.addEventListener("dragover", (event) => (event.preventDefault(), at("drop").classList.add("over")));
    for (const end of ["dragleave", "drop"]) dropped.addEventListener(end, () => at("drop").classList.remove("over"));
    dropped.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) this.takeFile(event.dataTransfer.files[0]);
    });
  }
}
