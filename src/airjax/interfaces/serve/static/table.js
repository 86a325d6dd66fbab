// The third view: a table in 3D, the objects that the model finds on it, and those objects from other directions.

import { ask } from "./api.js";
import { Errands, oneAtATime } from "./errands.js";
import { crop, decode, paint } from "./pictures.js";
import { captioned, Steps } from "./steps.js";

const at = (id) => document.getElementById(id);
const minus = (text) => text.replaceAll("-", "−");
const signed = (degrees) => minus(`${degrees > 0 ? "+" : ""}${degrees}°`);

export class Table {
  constructor(card, trouble) {
    this.card = card;
    this.steps = new Steps(at("table"), "table-", card, (...step) => this.detailsOf(...step));
    this.errands = new Errands(at("table"), trouble);
    this.wanted = { seed: 0, prior: false };
    this.lay = oneAtATime(async () => {
      await this.errands.attempt(() => this.take());
      at("warming").hidden = true;
    });
    this.turn = oneAtATime(() => this.errands.attempt(() => this.look()));
    const [, height, width] = card.image_shape;
    const names = Object.keys(card.kinds).join(", ");
    at("table-about").textContent = `Up to ${card.max_objects} of ${names}, seen in ${width} × ${height} pixels.`;
    this.listen();
  }

  /** Show a table and the objects found on it. */
  async take() {
    const { seed, prior } = this.wanted;
    this.steps.pause();
    const asked = performance.now();
    const answer = await ask("/api/table", { seed, prior });
    // Windows are large and overlap, so the box of the pixels that an object changes is framed instead.
    const steps = answer.steps.map((step) => ({ ...step, frame: step.box }));
    const decoded = { ...answer, steps, image: decode(answer.image), canvases: answer.canvases.map(decode) };
    paint(at("laid"), decoded.image);
    at("laid-told").textContent = `Laid: ${answer.laid.map((one) => one.identity).join(", ")}.`;
    at("laid-source").textContent = prior ? "sampled from the prior" : "held out from training";
    this.answer = decoded;
    this.steps.show(decoded, performance.now() - asked);
    this.steps.goTo(0);
    this.steps.play();
    this.turn(); // not awaited: it shows its own errors
  }

  /** Show the objects found from the direction of the dial. */
  async look() {
    if (!this.answer) return;
    const { steps, count, azimuth_deg } = this.answer;
    const things = steps.slice(0, count).map(({ identity, position, rotation_deg }) => ({ identity, position, rotation_deg }));
    const azimuth = (azimuth_deg + Number(at("dial-turn").value)) % 360;
    const { image } = await ask("/api/view", { objects: things, azimuth_deg: azimuth });
    paint(at("around"), decode(image));
  }

  detailsOf(step, t, colour) {
    const words = document.createElement("p");
    words.append(document.createElement("b"), this.told(step));
    words.firstChild.textContent = step.identity;
    return [
      words,
      captioned(paint, crop(this.answer.image, step.window), "looks at", colour),
      captioned(paint, crop(this.answer.canvases[t + 1], step.window), "draws", colour),
    ];
  }

  /** Describe where an object is and, unless it looks the same from all sides, how it is turned. */
  told({ identity, position, rotation_deg }) {
    const [x, y] = position.map((place) => (Math.round(100 * place) / 100 + 0).toFixed(2)); // 0 instead of -0
    const turned = this.card.kinds[identity] ? `, turned by ${Math.round(rotation_deg)}°` : "";
    return minus(` at (${x}, ${y})${turned}`);
  }

  listen() {
    for (const [id, prior] of [["another", false], ["sampled", true]]) {
      at(id).addEventListener("click", () => {
        // Some steps on, but fewer than there are held-out tables: always another one.
        this.wanted = { seed: this.wanted.seed + 1 + Math.floor(Math.random() * 100), prior };
        this.lay();
      });
    }
    const dial = at("dial-turn");
    dial.addEventListener("input", () => {
      at("turn-said").textContent = signed(Number(dial.value));
      dial.setAttribute("aria-valuetext", signed(Number(dial.value)));
      this.turn();
    });
  }
}
