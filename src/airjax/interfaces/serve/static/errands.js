// What a view does when asked to: one thing at a time, said where it fails.

const PAUSE = 60; // milliseconds between questions while something moves

export const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Let `action` run once at a time: calls meanwhile make it run once more. True for the call that it ran by. */
export function oneAtATime(action) {
  let [running, again] = [false, false];
  return async () => {
    again = true;
    if (running) return false;
    running = true;
    while (again) {
      again = false;
      await action();
      await later(PAUSE);
    }
    running = false;
    return true;
  };
}

export class Errands {
  /** Run errands for `panel`; `trouble(sentence)` shows what went wrong, or nothing. */
  constructor(panel, trouble) {
    Object.assign(this, { panel, trouble, pending: 0 });
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
    this.panel.setAttribute("aria-busy", ++this.pending > 0);
    try {
      return await action();
    } finally {
      this.panel.setAttribute("aria-busy", --this.pending > 0);
    }
  }
}
