/** Guest identity: a name, for which the server gives tokens. The server's cookie makes the name ours. */

/** Renew a token this long before it expires, in milliseconds. */
const MARGIN = 60_000;

export interface Token {
  readonly token: string;
  /** Who the server says we are: the name we asked for, or "Ann 2" if somebody else has it. */
  readonly sub: string;
  /** When it stops being accepted, in milliseconds since the epoch. */
  readonly expires: number;
}

export class Guest {
  #name = "";
  #token: Token | null = null;

  /** The name others see; empty before {@link introduce}. */
  get name(): string {
    return this.#token?.sub ?? this.#name;
  }

  /** Take a name. @throws Error with words for the user. */
  async introduce(name: string): Promise<Token> {
    this.#name = name;
    this.#token = null;
    return this.#mint();
  }

  /** A token that is good for a while; a new one if `renew` or if the last is about to expire. */
  async token(renew: boolean): Promise<string> {
    if (!renew && this.#token !== null && Date.now() < this.#token.expires - MARGIN) return this.#token.token;
    return (await this.#mint()).token;
  }

  async #mint(): Promise<Token> {
    let response: Response;
    try {
      response = await fetch(new URL("api/sfu/token", document.baseURI), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ name: this.#name, token_type: "read" }),
        credentials: "same-origin",
      });
    } catch {
      throw new Error("The server cannot be reached. Check your connection, then try again.");
    }
    if (!response.ok) throw new Error(refusal(response.status));
    const answer: unknown = await response.json().catch(() => null);
    const { token, sub, expires } = (answer ?? {}) as Record<string, unknown>;
    if (typeof token !== "string" || token === "")
      throw new Error("The server gave no token. Is this a trio-sfu server?");
    this.#token = {
      token,
      sub: typeof sub === "string" && sub !== "" ? sub : this.#name,
      expires: Date.now() + lifetime(expires),
    };
    return this.#token;
  }
}

/** `expires` counts seconds; where it is a moment instead, it is far above any lifetime. */
function lifetime(expires: unknown): number {
  if (typeof expires !== "number" || !(expires > 0)) return 5 * 60_000;
  const seconds = expires > 1_000_000_000 ? expires - Date.now() / 1_000 : expires;
  return Math.max(seconds, 0) * 1_000;
}

function refusal(status: number): string {
  if (status === 400 || status === 422)
    return "The server does not accept this name. Use 1 to 20 letters, digits or spaces.";
  if (status === 401 || status === 403) return "This server has accounts of its own: sign in there first.";
  if (status === 404) return "This server does not take guests. Its operator can start it with --standalone.";
  if (status === 429) return "That was too often. Wait a moment, then try again.";
  return `The server has a problem (${status}). Try again in a moment.`;
}
