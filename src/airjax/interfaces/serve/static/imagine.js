// The second view: scenes from the prior, which dials change.

import { ask } from "./api.js";
import { Errands, oneAtATime } from "./errands.js";
import { decode, frame, paint } from "./pictures.js";

const at = (id) => document.getElementById(id);

export class Imagine {
  /** Call `chosen(picture, count)` when a scene is clicked. */
  constructor(card, trouble, chosen) {
    Object.assign(this, { card, chosen, seed: 0 });
    const errands = new Errands(at("imagine"), trouble);
    const draw = async () => this.show((await ask("/api/sample", this.wanted)).scenes);
    this.draw = oneAtATime(() => errands.attempt(draw));
    at("dial-count").max = card.max_objects;
    // Training can make objects so costly that scenes from the prior are nearly always empty; show some objects then.
    at("dial-count").value = card.count_prior[0] < 0.9 ? -1 : Math.min(2, card.max_objects);
    this.listen();
  }

  /** The settings of the dials. */
  get wanted() {
    const [count, scale, temperature] = ["count", "scale", "temperature"].map((name) => Number(at(`dial-${name}`).value));
    return { seed: this.seed, count: count < 0 ? null : count, scale: 2 ** scale, temperature };
  }

  /** Sample with the settings of the dials, one request at a time. */
  sample() {
    this.tell();
    return this.draw();
  }

  tell() {
    const { count, scale, temperature } = this.wanted;
    const said = { count: count ?? "from p(n)", scale: `× ${scale.toFixed(2)}`, temperature: `× ${temperature.toFixed(2)}` };
    for (const [name, text] of Object.entries(said)) {
      at(`${name}-said`).textContent = text;
      at(`dial-${name}`).setAttribute("aria-valuetext", text);
    }
  }

  show(scenes) {
    const items = scenes.map(({ count, image, windows }) => {
      const picture = decode(image);
      const button = document.createElement("button");
      const canvas = document.createElement("canvas");
      const boxes = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      button.type = "button";
      button.setAttribute("aria-label", `Look at this scene, sampled with ${count} objects`);
      paint(canvas, picture);
      frame(boxes, picture.shape, windows, this.card.colours);
      button.append(canvas, boxes);
      button.addEventListener("click", () => this.chosen(picture, count));
      const item = document.createElement("li");
      item.append(button);
      return item;
    });
    at("sheet").replaceChildren(...items);
  }

  listen() {
    for (const name of ["count", "scale", "temperature"]) {
      at(`dial-${name}`).addEventListener("input", () => this.sample());
    }
    at("dial-windows").addEventListener("change", ({ target }) => {
      at("sheet").classList.toggle("bare", !target.checked);
    });
    at("again").addEventListener("click", () => {
      this.seed += 1;
      this.sample();
    });
    at("dials").addEventListener("submit", (event) => event.preventDefault());
  }
}
