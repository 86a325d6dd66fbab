// Requests to the server.

const PATIENCE = 5;

/** Send a question as JSON, or a file as the body. Return the answer; throw an Error with a sentence for the user. */
export async function ask(path, question) {
  const body = question instanceof Blob ? question : JSON.stringify(question);
  const type = question instanceof Blob ? question.type || "application/octet-stream" : "application/json";
  for (let turn = 0; ; turn++) {
    const reply = await send(path, { method: "POST", headers: { "Content-Type": type }, body });
    if (reply.status !== 503 || turn === PATIENCE) return understand(reply);
    await new Promise((later) => setTimeout(later, 1000 * Number(reply.headers.get("Retry-After") ?? 1)));
  }
}

/** Get what the page needs to know about the model. */
export async function card() {
  return understand(await send("/api/model", {}));
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
}

async function understand(reply) {
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}
