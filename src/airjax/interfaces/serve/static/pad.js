// A scene to draw on. Strokes have a finer resolution than the model's pixels, which are their averages.

import { decode, paint } from "./pictures.js";

const FINE = 400;
const REMEMBERED = 40;
const HAIR = 0.01;

export class Pad {
  /** Draw on `canvas`, and call `changed(drawing)` after every change; `drawing` is true while the pen is down. */
  constructor(canvas, card, changed) {
    const [, height, width] = card.image_shape;
    this.canvas = canvas;
    this.shape = card.image_shape;
    this.background = decode(card.background);
    this.ratio = Math.max(2, Math.round(FINE / Math.max(height, width)));
    this.changed = changed;
    this.past = [];
    this.fine = document.createElement("canvas");
    Object.assign(this.fine, { width: width * this.ratio, height: height * this.ratio });
    this.context = this.fine.getContext("2d", { willReadFrequently: true });
    this.pen = card.typical.stroke * this.ratio;
    this.clear();
    this.past = [];
    this.listen();
  }

  /** Remove everything but the background. */
  clear() {
    this.load(this.background);
  }

  /** Replace the scene with a picture. */
  load(picture) {
    this.remember();
    const pixels = document.createElement("canvas");
    paint(pixels, picture);
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(pixels, 0, 0, this.fine.width, this.fine.height);
    this.show();
  }

  undo() {
    if (!this.past.length) return;
    this.context.putImageData(this.past.pop(), 0, 0);
    this.show();
    this.changed(false);
  }

  /** The scene as the model sees it: { shape, values }. */
  get picture() {
    const [channels, height, width] = this.shape;
    const { ratio } = this;
    const fine = this.context.getImageData(0, 0, this.fine.width, this.fine.height).data;
    const sums = new Float64Array(channels * height * width);
    for (let i = 0, y = 0; y < height * ratio; y++) {
      for (let x = 0; x < width * ratio; x++, i += 4) {
        const pixel = Math.floor(y / ratio) * width + Math.floor(x / ratio);
        for (let c = 0; c < channels; c++) sums[c * height * width + pixel] += fine[i + c];
      }
    }
    return { shape: this.shape, values: Uint8Array.from(sums, (sum) => Math.round(sum / ratio ** 2)) };
  }

  remember() {
    this.past.push(this.context.getImageData(0, 0, this.fine.width, this.fine.height));
    if (this.past.length > REMEMBERED) this.past.shift();
  }

  show() {
    const { picture } = this;
    paint(this.canvas, picture);
    this.canvas.classList.toggle("empty", picture.values.every((value, i) => value === this.background.values[i]));
  }

  listen() {
    const { canvas, context } = this;
    let pen = null;
    let last = null;
    const place = ({ clientX, clientY }) => {
      const { left, top, width, height } = canvas.getBoundingClientRect();
      return [((clientX - left) / width) * this.fine.width, ((clientY - top) / height) * this.fine.height];
    };
    const stroke = (event) => {
      context.beginPath();
      context.moveTo(last[0] + HAIR, last[1]); // otherwise a press would be a line of no length, which isn't drawn
      const passed = event.getCoalescedEvents?.() ?? [];
      for (const point of passed.length ? passed : [event]) {
        last = place(point);
        context.lineTo(...last);
      }
      context.stroke();
      this.show();
      this.changed(true);
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (pen !== null || event.button !== 0) return;
      pen = event.pointerId;
      canvas.setPointerCapture(pen);
      this.remember();
      Object.assign(context, { strokeStyle: "#fff", lineWidth: this.pen, lineCap: "round", lineJoin: "round" });
      last = place(event);
      stroke(event);
    });
    canvas.addEventListener("pointermove", (event) => event.pointerId === pen && stroke(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        if (event.pointerId !== pen) return;
        pen = null;
        this.changed(false);
      });
    }
  }
}
