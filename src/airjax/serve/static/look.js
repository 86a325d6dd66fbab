// The first view: a scene, and what the model finds in it step by step.

import { ask } from "./api.js";
import { bars } from "./chart.js";
import { Pad } from "./pad.js";
import { decode, frame, paint, paintGlimpse, paintLeft } from "./pictures.js";

const PACE = 900; // milliseconds a step while playing
const PAUSE = 60; // milliseconds between questions while drawing
const PLACES = 3; // cards of steps that are always there

const at = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const probability = (p) => (p < 0.001 ? "< 0.001" : p > 0.999 ? "> 0.999" : `= ${p.toFixed(3)}`);
const objects = (n) => `${n} ${n === 1 ? "object" : "objects"}`;

/** Set letters in italics. */
function formula(text) {
  return text.split(/([a-z])/).map((part, place) => {
    if (place % 2 === 0) return part;
    const letter = document.createElement("i");
    letter.textContent = part;
    return letter;
  });
}

export class Look {
  constructor(card, trouble) {
    Object.assign(this, { card, trouble, answer: null, step: 0, timer: null, turn: 0, pending: 0, asking: false, stale: false, drawing: false });
    this.pad = new Pad(at("pad"), card, (drawing) => this.drawn(drawing));
    this.guide();
    at("samples").textContent = `${card.samples} samples`;
    this.listen();
  }

  /** Show on an empty scene how large objects are that the model knows. */
  guide() {
    const [, height, width] = this.card.image_shape;
    const { width: w, height: h } = this.card.typical;
    at("known").textContent = `${Math.round(w)} × ${Math.round(h)}`;
    frame(at("guide"), this.card.image_shape, [[(width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2]], []);
  }

  /** Begin with a scene that has something in it, unless someone was quicker. */
  begin() {
    return this.busily(async () => {
      for (let seed = 0; seed < 8 && !this.answer?.count; seed++) {
        if (!(await this.takeScene(seed))) return;
      }
    });
  }

  /** Show a picture and what is found in it; true if nothing else was begun meanwhile. */
  async watch(picture, source) {
    this.pause();
    this.pad.load(picture);
    at("source").textContent = source;
    if (!(await this.infer(picture))) return false;
    this.goTo(0);
    this.play();
    return true;
  }

  takeScene(seed) {
    return this.attempt(async () => {
      const turn = ++this.turn;
      const { image, source } = await ask("/api/scene", { seed });
      if (turn !== this.turn) return false;
      return this.watch(decode(image), source === "held-out" ? "held out from training" : "sampled from the prior");
    });
  }

  /** Show a file, which the server brings to the model's size. */
  takeFile(file) {
    return this.attempt(async () => {
      const turn = ++this.turn;
      if (file.size > this.card.max_body) throw new Error(`A picture may have ${this.card.max_body / 1e6} MB.`);
      const { image } = await ask("/api/infer", file);
      if (turn !== this.turn) return;
      const [, height, width] = this.card.image_shape;
      await this.watch(decode(image), `${file.name}, fitted to ${width} × ${height}`);
    });
  }

  /** Answer to the pen: one question at a time, always about the newest scene. */
  async drawn(drawing) {
    this.pause();
    at("source").textContent = "drawn by you";
    this.stale = true;
    this.drawing = drawing;
    if (this.asking) return;
    this.asking = true;
    await this.busily(async () => {
      while (this.stale) {
        this.stale = false;
        await this.attempt(() => this.infer(this.pad.picture));
        await later(PAUSE);
      }
    });
    this.asking = false;
    if (!this.drawing && this.timer === null) this.say(objects(this.answer?.count ?? 0));
  }

  /** Show what is found in a picture; false if something else was begun before the answer came. */
  async infer(picture) {
    const turn = ++this.turn;
    const [channels, height, width] = picture.shape;
    const part = (c, i) => picture.values[c * height * width + i];
    const pixel = (i) => (channels === 1 ? part(0, i) : [0, 1, 2].map((c) => part(c, i)));
    const row = (y) => Array.from({ length: width }, (_, x) => pixel(y * width + x));
    const asked = performance.now();
    const answer = await ask("/api/infer", { pixels: Array.from({ length: height }, (_, y) => row(y)) });
    if (turn !== this.turn) return false;
    at("took").textContent = `answered in ${Math.round(performance.now() - asked)} ms`;
    this.answer = { ...answer, image: picture, canvases: answer.canvases.map(decode) };
    bars(at("chart"), answer.count_posterior, answer.count_probs);
    at("count").textContent = answer.count ? objects(answer.count) : "no object";
    this.deal();
    this.goTo(answer.count);
    return true;
  }

  /** Lay out a card for every object found, one for the stop, and empty ones up to PLACES. */
  deal() {
    const { steps, count } = this.answer;
    const places = Math.min(steps.length, Math.max(count + 1, PLACES));
    const cards = steps.slice(0, places).map((step, t) => this.cardOf(step, t, count));
    at("steps").replaceChildren(...cards);
  }

  cardOf(step, t, count) {
    const card = document.createElement("li");
    if (t > count) return card;
    const title = document.createElement("h3");
    const reach = document.createElement("p");
    title.textContent = t < count ? t + 1 : "Stop";
    if (t === count) reach.append("One more? ");
    reach.append(...formula(`q(n ≥ ${t + 1} | x)`), ` ${probability(step.presence)}`);
    card.append(title, reach);
    card.classList.add(t < count ? "object" : "stop");
    if (t < count) card.append(...this.picturesOf(step, t));
    return card;
  }

  picturesOf(step, t) {
    const colour = this.card.colours[t % this.card.colours.length];
    return [["glimpse", paintGlimpse], ["object", paint]].map(([name, show]) => {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      const caption = document.createElement("figcaption");
      show(canvas, decode(step[name]));
      canvas.style.borderColor = colour;
      caption.textContent = name === "glimpse" ? "looks at" : "draws";
      figure.append(canvas, caption);
      return figure;
    });
  }

  /** Show the state after `step` objects. */
  goTo(step) {
    const { image, canvases, steps, count } = this.answer;
    this.step = Math.max(0, Math.min(step, count));
    paint(at("drawn"), canvases[this.step]);
    paintLeft(at("left"), image, canvases[this.step]);
    frame(at("windows"), image.shape, steps.slice(0, this.step).map((s) => s.window), this.card.colours);
    at("drawn-after").textContent = `after ${this.step} of ${count}`;
    [...at("steps").children].forEach((card, t) => {
      card.classList.toggle("ahead", t < count ? t >= this.step : this.step < count);
    });
    // Not really disabled, which would take the focus away.
    for (const id of ["first", "back"]) at(id).setAttribute("aria-disabled", this.step === 0);
    at("forth").setAttribute("aria-disabled", this.step === count);
  }

  walk(step) {
    this.pause();
    if (!this.answer) return;
    this.goTo(step);
    this.say(`after ${objects(this.step)} of ${this.answer.count}`);
  }

  play() {
    this.pause();
    const count = this.answer?.count ?? 0;
    if (still.matches || !count) {
      if (this.answer) this.goTo(count);
    } else {
      if (this.step === count) this.goTo(0);
      this.timer = setInterval(() => {
        this.goTo(this.step + 1);
        if (this.step === count) this.pause();
      }, PACE);
    }
    this.showPlaying();
    if (this.answer) this.say(objects(count));
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.showPlaying();
  }

  showPlaying() {
    at("play").classList.toggle("playing", this.timer !== null);
    at("play").setAttribute("aria-label", this.timer === null ? "Play" : "Pause");
  }

  say(sentence) {
    at("said").textContent = sentence;
  }

  /** Do something, and say it if that fails. */
  attempt(action) {
    return this.busily(async () => {
      try {
        const done = await action();
        this.trouble("");
        return done;
      } catch (error) {
        this.trouble(error.message);
      }
    });
  }

  /** Tell those who listen to the page, not look at it, that it is about to change. */
  async busily(action) {
    at("look").setAttribute("aria-busy", ++this.pending > 0);
    try {
      return await action();
    } finally {
      at("look").setAttribute("aria-busy", --this.pending > 0);
    }
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
      first: () => this.walk(0),
      back: () => this.walk(this.step - 1),
      play: () => (this.timer === null ? this.play() : this.pause()),
      forth: () => this.walk(this.step + 1),
    };
    for (const [id, action] of Object.entries(actions)) at(id).addEventListener("click", action);
    const keys = { ArrowLeft: "back", ArrowRight: "forth", Home: "first", " ": "play" };
    document.addEventListener("keydown", (event) => {
      if (at("look").hidden || event.target.closest("[role=tab], input") || event.altKey || event.metaKey) return;
      if (event.ctrlKey) return void (event.key === "z" && (event.preventDefault(), actions.undo()));
      if (!(event.key in keys) || (event.key === " " && event.target.closest("button"))) return;
      event.preventDefault();
      actions[keys[event.key]]();
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
