// Calls the server's API: adds a token where the API requires one, reads answers, and follows the live stream.

const TOKEN = "forebay-token";
/** Longer without a line than this, in milliseconds, and the stream counts as broken. */
const SILENCE = 10000;

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/** An answer other than success, with what the problem says. */
export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
  /** Whether another token could help. */
  get asksForToken() {
    return this.status === 401 || this.status === 403;
  }
}

/** What shows the server who asks. */
function credentials() {
  return token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
}

async function get(path, signal) {
  const response = await fetch(path, { headers: credentials(), signal, cache: "no-store" });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refusal(response.status, problem.detail ?? `the server answered ${response.status}`);
}

/** The JSON at a path with this query. */
export async function ask(path, query = {}, signal = undefined) {
  const response = await get(`${path}?${new URLSearchParams(query)}`, signal);
  return response.json();
}

/** Store and database, also where they do not answer. It takes no token; with one that may read it tells why. */
export async function health() {
  const response = await fetch("/readyz", { headers: credentials(), cache: "no-store" });
  return response.json();
}

/** Calls `take` with each line of the live stream until it ends; the server ends it when it stops. */
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
