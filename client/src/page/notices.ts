/** Short messages at the foot of the page, and what the server's error words mean to a person. */

import { RequestError } from "../netplay/index.js";
import { byId, button, make } from "./dom.js";

/** How long a message stays, in milliseconds, and how many are shown at once. */
const STAY = 8_000;
const MAX_NOTICES = 3;

export function notify(text: string, kind: "good" | "bad" = "good"): void {
  const notices = byId("notices", HTMLElement);
  for (const old of notices.querySelectorAll<HTMLElement>(".notice")) {
    if (old.querySelector("p")?.textContent === text) old.remove();
  }
  while (notices.childElementCount >= MAX_NOTICES) notices.firstElementChild?.remove();
  const notice = make("div", `notice ${kind}`, make("p", "", text));
  notice.append(button("Close", "Close this message", "quiet", () => notice.remove()));
  notices.append(notice);
  setTimeout(() => notice.remove(), STAY);
}

const MEANINGS: Readonly<Record<string, string>> = {
  "no such room": "This room is gone. Pick another one, or open your own.",
  "bad password": "That is not the room's password. Ask the host, then try again.",
  "room full": "All seats are taken. You can watch, or wait until somebody leaves.",
  full: "This room is full. Pick another one, or open your own.",
  "no available slots": "All seats are taken. You can watch instead.",
  "slot taken": "Somebody sits there already. Pick another seat.",
  "invalid slot": "This room has no such seat. Pick another one.",
  "userid in use": "You are in this room already, in another tab or window. Close that one first.",
  "room exists": "There is a room with this name. Choose another name.",
  invalid: "The server does not accept this. Use 1 to 64 ordinary characters.",
  unauthorized: "The server does not know you any more. Choose your name again.",
};

/** What went wrong, in words that say what to do. */
export function explain(error: unknown): string {
  if (error instanceof RequestError) {
    const meaning = typeof error.details === "string" ? MEANINGS[error.details] : undefined;
    if (meaning !== undefined) return meaning;
    if (error.code === "timeout") return "The server does not answer. Try again in a moment.";
  }
  return error instanceof Error ? error.message : String(error);
}
