// Actions of a view: they run one at a time, and their errors are shown.

const PAUSE = 60; // milliseconds between requests while a dial or the pen moves

export const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Never run `action` twice at once: a call during a run makes it run once more. Only the call that ran it returns true. */
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
  /** Run actions for `panel`; `trouble(sentence)` shows an error, and hides it if the sentence is empty. */
  constructor(panel, trouble) {
    Object.assign(this, { panel, trouble, pending: 0 });
  }

  /** Run an action, and show its error if it fails. */
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

  /** Run an action, and tell screen readers that the panel is changing. */
  async busily(action) {
    this.panel.setAttribute("aria-busy", ++this.pending > 0);
    try {
      return await action();
    } finally {
      this.panel.setAttribute("aria-busy", --this.pending > 0);
    }
  }
}
