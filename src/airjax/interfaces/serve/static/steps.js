// The results of inference, step by step: canvases, boxes, cards and counts, with buttons and keys to move through them.

import { bars } from "./chart.js";
import { frame, paint, paintLeft } from "./pictures.js";

const PACE = 900; // milliseconds a step while playing
const PLACES = 3; // least number of cards

const still = matchMedia("(prefers-reduced-motion: reduce)");
export const probability = (p) => (p < 0.001 ? "< 0.001" : p > 0.999 ? "> 0.999" : `= ${p.toFixed(3)}`);

export const objects = (n) => `${n} ${n === 1 ? "object" : "objects"}`;

/** Set letters in italics. */
function formula(text) {
  return text.split(/([a-z])/).map((part, place) => {
    if (place % 2 === 0) return part;
    const letter = document.createElement("i");
    letter.textContent = part;
    return letter;
  });
}

/** A canvas with a caption and, around it, the colour of its step. */
export function captioned(show, picture, caption, colour) {
  const [figure, canvas, words] = ["figure", "canvas", "figcaption"].map((name) => document.createElement(name));
  show(canvas, picture);
  canvas.style.borderColor = colour;
  words.textContent = caption;
  figure.append(canvas, words);
  return figure;
}

export class Steps {
  /** Build the steps in `panel`, with ids that begin with `prefix`; `detailsOf(step, t, colour)` gives a card's content. */
  constructor(panel, prefix, card, detailsOf) {
    Object.assign(this, { panel, prefix, card, detailsOf, answer: null, step: 0, timer: null });
    const parts = document.getElementById("stepping").content.cloneNode(true);
    for (const name of ["id", "aria-labelledby"]) {
      for (const part of parts.querySelectorAll(`[${name}]`)) part.setAttribute(name, prefix + part.getAttribute(name));
    }
    panel.append(parts);
    const [, height, width] = card.image_shape;
    for (const canvas of panel.querySelectorAll("canvas")) Object.assign(canvas, { width, height });
    this.at("samples").textContent = `${card.samples} samples`;
    this.listen();
  }

  at(id) {
    return document.getElementById(this.prefix + id);
  }

  get playing() {
    return this.timer !== null;
  }

  /** Show an answer after its last step. Its image and canvases are decoded; its steps have a `frame` or a `window`. */
  show(answer, milliseconds) {
    this.answer = answer;
    this.at("took").textContent = `answered in ${Math.round(milliseconds)} ms`;
    bars(this.at("chart"), answer.count_posterior, answer.count_probs);
    this.at("count").textContent = answer.count ? objects(answer.count) : "no object";
    this.deal();
    this.goTo(answer.count);
  }

  /** Lay out one card per object, one for the stop, and empty ones up to PLACES. */
  deal() {
    const { steps, count } = this.answer;
    const places = Math.min(steps.length, Math.max(count + 1, PLACES));
    const cards = steps.slice(0, places).map((step, t) => this.cardOf(step, t, count));
    this.at("steps").replaceChildren(...cards);
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
    const { colours } = this.card;
    if (t < count) card.append(...this.detailsOf(step, t, colours[t % colours.length]));
    return card;
  }

  /** Show the state after `step` objects. */
  goTo(step) {
    const { image, canvases, steps, count } = this.answer;
    this.step = Math.max(0, Math.min(step, count));
    paint(this.at("drawn"), canvases[this.step]);
    paintLeft(this.at("left"), image, canvases[this.step]);
    frame(this.at("windows"), image.shape, steps.slice(0, this.step).map((s) => s.frame ?? s.window), this.card.colours);
    this.at("drawn-after").textContent = `after ${this.step} of ${count}`;
    [...this.at("steps").children].forEach((card, t) => {
      card.classList.toggle("ahead", t < count ? t >= this.step : this.step < count);
    });
    // The attribute `disabled` would take the focus away.
    for (const id of ["first", "back"]) this.at(id).setAttribute("aria-disabled", this.step === 0);
    this.at("forth").setAttribute("aria-disabled", this.step === count);
  }

  walk(step) {
    this.pause();
    if (!this.answer) return;
    this.goTo(step);
    this.say(`after ${objects(this.step)} of ${this.answer.count}`);
  }

  /** Show one object after another; start over if all are shown. */
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
    this.at("play").classList.toggle("playing", this.playing);
    this.at("play").setAttribute("aria-label", this.playing ? "Pause" : "Play");
  }

  say(sentence) {
    this.at("said").textContent = sentence;
  }

  listen() {
    const actions = {
      first: () => this.walk(0),
      back: () => this.walk(this.step - 1),
      play: () => (this.playing ? this.pause() : this.play()),
      forth: () => this.walk(this.step + 1),
    };
    for (const [id, action] of Object.entries(actions)) this.at(id).addEventListener("click", action);
    const keys = { ArrowLeft: "back", ArrowRight: "forth", Home: "first", " ": "play" };
    document.addEventListener("keydown", (event) => {
      const { key, target, altKey, ctrlKey, metaKey } = event;
      if (this.panel.hidden || target.closest("[role=tab], input") || altKey || ctrlKey || metaKey) return;
      if (!(key in keys) || (key === " " && target.closest("button"))) return;
      event.preventDefault();
      actions[keys[key]]();
    });
  }
}
