// Calls the server's API: adds a token where the API requires one, reads answers, and follows the live stream.

const TOKEN = "forebay-token";
/** The milliseconds without a line after which the stream counts as broken. */
const SILENCE = 10000;

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/** An answer that is not a success, with the detail of its problem. */
export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
  /** Returns whether another token could help. */
  get asksForToken() {
    return this.status === 401 || this.status === 403;
  }
}

/** The header with the token, if there is one. */
function credentials() {
  return token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
}

async function get(path, signal) {
  const response = await fetch(path, { headers: credentials(), signal, cache: "no-store" });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refusal(response.status, problem.detail ?? `the server answered ${response.status}`);
}

/** Gets the JSON at a path with a query. */
export async function ask(path, query = {}, signal = undefined) {
  const response = await get(`${path}?${new URLSearchParams(query)}`, signal);
  return response.json();
}

/** Gets the text at a path with a query. */
export async function text(path, query, signal = undefined) {
  const response = await get(`${path}?${new URLSearchParams(query)}`, signal);
  return response.text();
}

/** Gets the state of store and database, also if they do not answer. Only with the scope `read` it includes the reasons. */
export async function health() {
  const response = await fetch("/readyz", { headers: credentials(), cache: "no-store" });
  return response.json();
}

/** Calls `take` with each line of the live stream until the stream ends. The server ends it when it stops. */
export async function live(take, stop) {
  const broken = new AbortController();
  const abort = () => broken.abort();
  stop.addEventListener("abort", abort);
  let timer = setTimeout(abort, SILENCE);
  try {
    const response = await get("/v1/live", broken.signal);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(abort, SILENCE);
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) take(JSON.parse(line));
    }
  } finally {
    clearTimeout(timer);
    stop.removeEventListener("abort", abort);
  }
}
